//! Python's pickles of protocol 0 to 5, read as data: nothing is imported, called or executed.
//!
//! A pickle is a program for a small stack machine (Lib/pickletools.py describes every opcode).
//! Of what it builds only the outermost dictionary counts, and in it texts and numbers. Classes and
//! calls leave an opaque value on the stack, and what persists outside of the pickle (PERSID,
//! extensions, buffers) is refused. There is no recursion; memory is a small multiple of the input.

use std::collections::HashMap;

/// The longest pickle that is read: as much as a signed session may become.
pub const BYTES: usize = super::signing::INFLATED_BYTES as usize;

/// A value of the outermost dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// `str`, and what Python 2 wrote for one: `bytes` of ASCII.
    Text(&'a str),
    /// A number of up to 64 bits.
    Integer(i64),
    /// Anything else.
    Opaque,
}

/// The dictionary that a pickle holds.
#[derive(Debug)]
pub struct Dict {
    built: Vec<Built>,
    items: Vec<(Slot, Slot)>,
}

impl Dict {
    /// The value of a key; of several, the last.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let is_key = |(slot, _): &&(Slot, Slot)| self.value(*slot) == Value::Text(key);
        self.items.iter().rev().find(is_key).map(|(_, value)| self.value(*value))
    }

    fn value(&self, slot: Slot) -> Value<'_> {
        let Slot::Built(place) = slot else { return Value::Opaque };
        match self.built.get(place) {
            Some(Built::Text(text)) => Value::Text(text),
            Some(Built::Integer(number)) => Value::Integer(*number),
            Some(Built::Dict(_)) | None => Value::Opaque,
        }
    }
}

/// Reads a pickle; `None` where it cannot be read or holds no dictionary.
pub fn read(bytes: &[u8]) -> Option<Dict> {
    if bytes.len() > BYTES {
        return None;
    }
    let mut machine = Machine::new(bytes);
    while let Some(opcode) = machine.input.byte() {
        if opcode == b'.' {
            return machine.finish();
        }
        machine.step(opcode)?;
    }
    None
}

/// What lies on the stack and in the memo.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Mark,
    /// A place in `Machine::built`.
    Built(usize),
    Opaque,
}

#[derive(Debug)]
enum Built {
    Text(String),
    Integer(i64),
    Dict(Vec<(Slot, Slot)>),
}

struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Slot>,
    memo: HashMap<u64, Slot>,
    built: Vec<Built>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Machine { input: Input(bytes), stack: Vec::new(), memo: HashMap::new(), built: Vec::new() }
    }

    /// One opcode, its argument included; `None` where the pickle is broken or not for us.
    fn step(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            // PROTO and FRAME say nothing that is needed.
            0x80 => self.input.take(1).map(drop),
            0x95 => self.input.take(8).map(drop),
            b'}' => self.build(Built::Dict(Vec::new())),
            b'd' => self.mark_to_dict(),
            b's' => self.set_items(1),
            b'u' => self.set_marked(),
            b'(' => self.push(Slot::Mark),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => self.top().and_then(|top| self.push(top)),
            b'p' | b'q' | b'r' | 0x94 => self.remember(opcode),
            b'g' | b'h' | b'j' => self.recall(opcode),
            b'V' | b'X' | 0x8c | 0x8d | b'S' | b'T' | b'U' => self.text(opcode),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b => self.number(opcode),
            _ => self.opaque(opcode),
        }
    }

    /// Everything whose result does not count: what it takes from the input and the stack.
    fn opaque(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            // NONE, booleans, empty list, tuple and set.
            b'N' | 0x88 | 0x89 | b']' | b')' | 0x8f => {}
            // Bytes: BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8.
            b'B' => self.input.counted(4).map(drop)?,
            b'C' => self.input.counted(1).map(drop)?,
            0x8e | 0x96 => self.input.counted(8).map(drop)?,
            // FLOAT, BINFLOAT.
            b'F' => self.input.line().map(drop)?,
            b'G' => self.input.take(8).map(drop)?,
            // APPEND, APPENDS and ADDITEMS: the list or set stays.
            b'a' => return self.pop().map(drop),
            b'e' | 0x90 => return self.pop_mark().map(drop),
            // BUILD: the state goes, the object stays.
            b'b' => return self.pop().map(drop),
            // LIST, TUPLE, FROZENSET, OBJ and INST: from the mark on.
            b'l' | b't' | 0x91 | b'o' => self.pop_mark()?,
            b'i' => {
                self.input.line()?;
                self.input.line()?;
                self.pop_mark()?;
            }
            0x85 => self.pop_many(1)?,
            // TUPLE2, REDUCE, NEWOBJ, STACK_GLOBAL.
            0x86 | b'R' | 0x81 | 0x93 => self.pop_many(2)?,
            // TUPLE3, NEWOBJ_EX.
            0x87 | 0x92 => self.pop_many(3)?,
            // GLOBAL: a name, never looked up.
            b'c' => {
                self.input.line()?;
                self.input.line()?;
            }
            _ => return None,
        }
        self.push(Slot::Opaque)
    }

    fn text(&mut self, opcode: u8) -> Option<()> {
        let text = match opcode {
            b'V' => raw_unicode(self.input.line()?),
            b'X' => utf8(self.input.counted(4)?),
            0x8c => utf8(self.input.counted(1)?),
            0x8d => utf8(self.input.counted(8)?),
            b'T' => ascii(self.input.counted(4)?),
            b'U' => ascii(self.input.counted(1)?),
            // STRING: as repr() has it. What needs escapes is none of the texts that count.
            _ => ascii(self.input.line()?)
                .filter(|text| !text.contains('\\'))
                .and_then(|text| Some(text.get(1..text.len().checked_sub(1)?)?.to_owned())),
        };
        match text {
            Some(text) => self.build(Built::Text(text)),
            None => self.push(Slot::Opaque),
        }
    }

    fn number(&mut self, opcode: u8) -> Option<()> {
        let number = match opcode {
            b'J' => Some(i64::from(i32::from_le_bytes(self.input.take(4)?.try_into().ok()?))),
            b'K' => Some(i64::from(self.input.byte()?)),
            b'M' => Some(i64::from(u16::from_le_bytes(self.input.take(2)?.try_into().ok()?))),
            0x8a => signed(self.input.counted(1)?),
            0x8b => signed(self.input.counted(4)?),
            _ => match self.input.line()? {
                // The booleans of protocol 0.
                b"00" | b"01" => None,
                line => str::from_utf8(line).ok()?.trim_end_matches('L').parse().ok(),
            },
        };
        match number {
            Some(number) => self.build(Built::Integer(number)),
            None => self.push(Slot::Opaque),
        }
    }

    fn remember(&mut self, opcode: u8) -> Option<()> {
        let place = match opcode {
            // MEMOIZE: the next number.
            0x94 => self.memo.len() as u64,
            b'p' => self.input.decimal()?,
            b'q' => self.input.number(1)?,
            _ => self.input.number(4)?,
        };
        let top = self.top()?;
        self.memo.insert(place, top);
        Some(())
    }

    fn recall(&mut self, opcode: u8) -> Option<()> {
        let place = match opcode {
            b'g' => self.input.decimal()?,
            b'h' => self.input.number(1)?,
            _ => self.input.number(4)?,
        };
        let slot = self.memo.get(&place).copied()?;
        self.push(slot)
    }

    fn mark_to_dict(&mut self) -> Option<()> {
        let items = self.marked()?;
        let dict = Built::Dict(pairs(&items)?);
        self.build(dict)
    }

    fn set_marked(&mut self) -> Option<()> {
        let items = self.marked()?;
        let pairs = pairs(&items)?;
        self.add(pairs)
    }

    fn set_items(&mut self, count: usize) -> Option<()> {
        let items = self.stack.split_off(self.stack.len().checked_sub(2 * count)?);
        let pairs = pairs(&items)?;
        self.add(pairs)
    }

    /// Adds to what lies on top, if it is a dictionary: a subclass of `dict` is opaque.
    fn add(&mut self, pairs: Vec<(Slot, Slot)>) -> Option<()> {
        if let Slot::Built(place) = self.top()?
            && let Some(Built::Dict(items)) = self.built.get_mut(place)
        {
            items.extend(pairs);
        }
        Some(())
    }

    /// What lies above the last mark; the mark goes too.
    fn marked(&mut self) -> Option<Vec<Slot>> {
        let mark = self.stack.iter().rposition(|slot| matches!(slot, Slot::Mark))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Some(items)
    }

    fn pop_mark(&mut self) -> Option<()> {
        self.marked().map(drop)
    }

    fn pop(&mut self) -> Option<Slot> {
        self.stack.pop()
    }

    fn pop_many(&mut self, count: usize) -> Option<()> {
        let rest = self.stack.len().checked_sub(count)?;
        self.stack.truncate(rest);
        Some(())
    }

    fn top(&self) -> Option<Slot> {
        self.stack.last().copied().filter(|slot| !matches!(slot, Slot::Mark))
    }

    fn push(&mut self, slot: Slot) -> Option<()> {
        self.stack.push(slot);
        Some(())
    }

    fn build(&mut self, built: Built) -> Option<()> {
        self.built.push(built);
        self.push(Slot::Built(self.built.len() - 1))
    }

    fn finish(mut self) -> Option<Dict> {
        let Slot::Built(place) = self.pop()? else { return None };
        let Built::Dict(items) = self.built.get_mut(place)? else { return None };
        let items = std::mem::take(items);
        Some(Dict { built: self.built, items })
    }
}

fn pairs(items: &[Slot]) -> Option<Vec<(Slot, Slot)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Up to the line feed, which goes too.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let line = self.take(end)?;
        self.byte()?;
        Some(line)
    }

    /// A number of so many bytes.
    fn number(&mut self, width: usize) -> Option<u64> {
        let bytes = self.take(width)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A length of so many bytes, and as much after it.
    fn counted(&mut self, width: usize) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number(width)?).ok()?;
        self.take(count)
    }

    fn decimal(&mut self) -> Option<u64> {
        str::from_utf8(self.line()?).ok()?.parse().ok()
    }
}

/// Lone surrogates, which Python writes and UTF-8 has not, make a text opaque.
fn utf8(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn ascii(bytes: &[u8]) -> Option<String> {
    bytes.is_ascii().then(|| bytes.iter().copied().map(char::from).collect())
}

/// Python's `raw-unicode-escape`. Texts with escapes are none of those that count.
fn raw_unicode(bytes: &[u8]) -> Option<String> {
    (!bytes.contains(&b'\\')).then(|| bytes.iter().copied().map(char::from).collect())
}

/// Two's complement, the lowest byte first, of at most eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

/// A dictionary of one text, in the oldest protocol: Pythons of all ages read it, and it is ASCII.
pub fn write(key: &str, value: &str) -> String {
    format!("(dp0\nV{key}\np1\nV{value}\np2\ns.")
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
