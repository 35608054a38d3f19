/// Paints words, or leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Paints one of several things in a colour of its own; `n` may be any number.
    pub(crate) fn nth(self, n: usize, text: &str) -> String {
        // Neither red, which means that something is wrong, nor the two that some screens cannot show.
        const CODES: [&str; 10] = [
            "36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1",
        ];
        self.with(CODES[n % CODES.len()], text)
    }
}
