//! Texts as words of a Dockerfile.

/// Tells whether a word needs no quotes, neither for a builder nor for a shell.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"./_-+:@%,=".contains(&b))
}

/// Returns a word of an instruction; a dollar sign in it stays one.
pub(super) fn literal(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Returns a word of an instruction in which variables are put in.
pub(super) fn expanding(text: &str) -> String {
    if is_plain(&text.replace('$', "")) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Returns paths as arguments of `COPY`, which cuts at spaces whatever the quotes: only an array keeps those whole.
pub(super) fn paths(paths: &[String]) -> String {
    if paths.iter().any(|p| p.contains(char::is_whitespace)) {
        let escaped: Vec<String> = paths.iter().map(|p| escaped(p)).collect();
        return exec(&escaped);
    }
    let words: Vec<String> = paths.iter().map(|p| literal(p)).collect();
    words.join(" ")
}

/// Escapes what a builder would work out in an element of an array.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '\\' | '$' | '"' | '\'') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// Returns a word for a shell.
pub(super) fn shell(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Returns the exec form.
pub(super) fn exec(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|w| serde_json::Value::String(w.clone()).to_string())
        .collect();
    format!("[{}]", words.join(", "))
}

/// Returns a here-document: its opening and what follows the instruction's line.
pub(super) fn heredoc(text: &str) -> (String, String) {
    let mut end = "EOF".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    (format!("<<'{end}'"), format!("{text}{gap}{end}\n"))
}
