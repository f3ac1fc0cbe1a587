//! Extension attributes as stores keep them: a JSON object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::Envelope;

/// The extension attributes of an envelope as a JSON object of texts; `None`: it has none.
///
/// # Errors
/// JSON cannot say it; no map of texts is known for which that is so.
pub fn extensions_to_json(envelope: &Envelope) -> Result<Option<String>, serde_json::Error> {
    match envelope.extensions.is_empty() {
        true => Ok(None),
        false => serde_json::to_string(&envelope.extensions).map(Some),
    }
}

/// Extension attributes out of a JSON object. Other languages insert too: a number or a boolean is as good as its text.
///
/// # Errors
/// It is no JSON object: what is wrong with it, for people.
pub fn extensions_from_json(json: &str) -> Result<BTreeMap<Arc<str>, Arc<str>>, String> {
    let parsed: BTreeMap<Arc<str>, Value> =
        serde_json::from_str(json).map_err(|error| format!("extensions is no JSON object: {error}"))?;
    let text = |value| match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    Ok(parsed.into_iter().map(|(name, value)| (name, text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_others_may_write_numbers() {
        let mut envelope = Envelope::new("1", "urn:a", "t", *b"");
        assert_eq!(extensions_to_json(&envelope).unwrap(), None);
        envelope.extensions = [("tenant".into(), "Zo\"ë".into())].into();
        let json = extensions_to_json(&envelope).unwrap().unwrap();
        assert_eq!(extensions_from_json(&json).unwrap(), envelope.extensions);
        let others = extensions_from_json(r#"{"n": 7, "is": true}"#).unwrap();
        assert_eq!((&*others["n"], &*others["is"]), ("7", "true"));
        assert!(extensions_from_json("[]").unwrap_err().contains("no JSON object"));
    }
}
