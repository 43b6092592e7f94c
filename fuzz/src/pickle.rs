//! A session in a cache: a pickle, as Python's or anybody's bytes.

use djaffar::auth::pickle::{BYTES, Value, read};
use djaffar::auth::session::{Form, Place, Serializer, decode};
use djaffar::auth::signing::{Keys, Secret};

/// Reading ends, and what it gives lies in the input. What is read is read again alike, also with
/// more behind it: a pickle ends itself.
///
/// # Panics
/// When that does not hold.
pub fn check(data: &[u8]) {
    let Some(dict) = read(data) else { return };
    assert!(data.len() <= BYTES);
    for key in ["_auth_user_id", "_auth_user_hash", "djaffar_visitor", ""] {
        if let Some(Value::Text(text)) = dict.get(key) {
            // Latin-1 texts of protocol 0 become longer as UTF-8, never more than twice.
            assert!(text.len() <= 2 * data.len());
        }
        if data.len() < BYTES {
            let longer = read(&[data, b"."].concat());
            assert_eq!(longer.map(|it| it.get(key).is_some()), Some(dict.get(key).is_some()));
        }
    }
    let form = Form { place: Place::Cache, serializer: Serializer::Pickle };
    assert!(decode(data, form, &Keys::new(Secret::from("key"), Vec::new())).is_some());
}
