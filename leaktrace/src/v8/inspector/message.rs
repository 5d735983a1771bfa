//! Messages of the inspector's protocol, taken apart without trusting them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::InspectorError;

/// The longest part of a foreign text that is repeated in a message of ours.
const MAX_QUOTE: usize = 200;

/// What came: an answer or an event.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) id: Option<u64>,
    pub(super) method: Option<String>,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) result: Option<Box<RawValue>>,
    pub(super) error: Option<Remote>,
}

/// An error of the other side.
#[derive(Debug, Deserialize)]
pub(super) struct Remote {
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Serialize)]
struct Call<'a, P> {
    id: u64,
    method: &'a str,
    params: P,
}

impl Message {
    pub(super) fn read(text: &str) -> Result<Self, InspectorError> {
        serde_json::from_str(text).map_err(|error| InspectorError::Protocol(error.to_string()))
    }
}

/// A call as text.
pub(super) fn call(id: u64, method: &str, params: impl Serialize) -> Result<String, InspectorError> {
    serde_json::to_string(&Call { id, method, params })
        .map_err(|error| InspectorError::Protocol(format!("{method}: {error}")))
}

/// What an answer or event carries.
pub(super) fn read<T: for<'a> Deserialize<'a>>(
    what: &str,
    raw: Option<&RawValue>,
) -> Result<T, InspectorError> {
    let text = raw.map_or("{}", RawValue::get);
    serde_json::from_str(text).map_err(|error| InspectorError::Protocol(format!("{what}: {error}")))
}

/// A foreign text, short enough to be repeated.
pub(super) fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_events_are_told_apart() {
        let answer = Message::read(r#"{"id":3,"result":{"usedSize":7}}"#).unwrap();
        assert_eq!((answer.id, answer.method), (Some(3), None));
        let event = Message::read(r#"{"method":"A.b","params":{"chunk":"x"}}"#).unwrap();
        assert_eq!((event.id, event.method.as_deref()), (None, Some("A.b")));
        let error = Message::read(r#"{"error":{"code":-1,"message":"no"},"id":4}"#).unwrap();
        assert_eq!(error.error.unwrap().message, "no");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let deep = format!("{{\"params\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        for text in ["", "[]", "nonsense", r#"{"id":-1}"#, r#"{"id":"x"}"#, r#"{"params":"#] {
            assert!(Message::read(text).is_err(), "{text}");
        }
        // Nesting costs no stack before somebody asks for what is in it.
        let _ = Message::read(&deep);
    }
}
