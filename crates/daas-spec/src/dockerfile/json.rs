//! The exec form: a JSON array of strings.

use serde_json::Value;

/// What the arguments of an instruction are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// No JSON array: a line for the shell, or plain words.
    No,
    /// An array that holds something that is no string.
    Mixed,
    /// The exec form.
    Strings(Vec<String>),
}

/// Reads `text` as the exec form if it is one.
pub(crate) fn read(text: &str) -> Json {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else {
        return Json::No;
    };
    values
        .into_iter()
        .map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map_or(Json::Mixed, Json::Strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_array_of_strings_is_the_exec_form() {
        let strings = |all: &[&str]| Json::Strings(all.iter().map(|s| (*s).to_owned()).collect());
        for (text, wanted) in [
            (r#"["a", "b\n"]"#, strings(&["a", "b\n"])),
            (" [ ] ", strings(&[])),
            ("['a']", Json::No),
            ("[ -f x ]", Json::No),
            (r#"["a"] && b"#, Json::No),
            (r#"["a",]"#, Json::No),
            (r#"["a", 1]"#, Json::Mixed),
            (r#""a""#, Json::No),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }
}
