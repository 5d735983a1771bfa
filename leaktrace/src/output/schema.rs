//! The JSON Schema of the output, generated from the record types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::record::{Record, SCHEMA};

/// The schema of one line of the output, pretty-printed, with a line feed at its end.
///
/// Stable for the same record types, so that a committed copy can be compared with it.
pub fn schema_json() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Record>();
    schema.insert("$id".to_owned(), Value::from(format!("urn:leaktrace:schema:{SCHEMA}")));
    schema.insert("title".to_owned(), Value::from(format!("leaktrace output, schema {SCHEMA}")));
    // `Value` keeps its keys sorted, and cannot fail to print.
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::schema_json;
    use crate::output::fixture;

    #[test]
    fn the_schema_changes_only_on_purpose() {
        insta::assert_snapshot!("schema", schema_json());
    }

    #[test]
    fn every_record_is_valid() {
        let schema: Value = serde_json::from_str(&schema_json()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut kinds = BTreeSet::new();
        for record in fixture::every_record() {
            let value = serde_json::to_value(&record).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}\n{value:#}");
            kinds.insert(value["type"].as_str().unwrap().to_owned());
        }
        let variants = schema["oneOf"].as_array().unwrap().len();
        assert_eq!(kinds.len(), variants, "the fixture has each kind of record");
    }

    #[test]
    fn what_is_no_record_is_not_valid() {
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema_json()).unwrap()).unwrap();
        for text in [r#"{"type":"tock"}"#, r#"{"type":"tick","t":"now"}"#, r#"{"t":1.0}"#, "[]"] {
            assert!(!validator.is_valid(&serde_json::from_str(text).unwrap()), "{text}");
        }
    }
}
