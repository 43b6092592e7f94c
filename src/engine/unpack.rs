//! What django-redis compresses a value with (django_redis/compressors/): zlib, gzip, lzma, zstd
//! or lz4, told apart by their first bytes.
//!
//! As in django-redis, what does not unpack is taken as it is: short values are not compressed.

use std::io::Read;

use super::LARGEST;

/// What a decoder may keep for looking back; the largest that django-redis asks for is 8 MiB.
const WINDOW_KIB: u32 = 16 << 10;

/// The value, unpacked where it is compressed.
pub(super) fn unpack(value: Vec<u8>) -> Vec<u8> {
    let unpacked = match value.as_slice() {
        [0x1f, 0x8b, ..] => all(flate2::read::MultiGzDecoder::new(&*value)),
        [0x78, ..] => all(flate2::read::ZlibDecoder::new(&*value)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            all(lzma_rust2::XzReader::new_mem_limit(&*value, true, WINDOW_KIB))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let window = u64::from(WINDOW_KIB) << 10;
            ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&*value, window)
                .ok()
                .and_then(all)
        }
        [0x04, 0x22, 0x4d, 0x18, ..] => all(lz4_flex::frame::FrameDecoder::new(&*value)),
        _ => None,
    };
    unpacked.unwrap_or(value)
}

fn all(from: impl Read) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= LARGEST).then_some(unpacked)
}
