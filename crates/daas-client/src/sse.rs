//! Reads server-sent events (WHATWG HTML, section 9.2) from pieces of bytes.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) data: String,
}

/// The most bytes of one event: more is no event of ours.
const MOST: usize = 16 << 20;

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    rest: Vec<u8>,
    /// How much of `rest` has no line feed.
    searched: usize,
    message: Message,
    has_data: bool,
}

impl Reader {
    /// Adds bytes; nothing is returned if the other side says too much without an end.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest.extend_from_slice(bytes);
        (self.rest.len() + self.message.data.len() <= MOST).then_some(())
    }

    /// Returns the next whole event.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let mut start = 0;
        let mut found = None;
        while let Some(offset) = self.rest[self.searched..].iter().position(|b| *b == b'\n') {
            let end = self.searched + offset;
            let line = self.rest[start..end]
                .strip_suffix(b"\r")
                .unwrap_or(&self.rest[start..end]);
            let line = String::from_utf8_lossy(line).into_owned();
            start = end + 1;
            self.searched = start;
            if let Some(message) = self.line(&line) {
                found = Some(message);
                break;
            }
        }
        if found.is_none() {
            self.searched = self.rest.len();
        }
        self.rest.drain(..start);
        self.searched -= start;
        found
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.has_data = true;
                self.message.data.push_str(value);
            }
            // Comments keep the line alive; ids are inside of our data; nothing else has a meaning here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(pieces: &[&[u8]]) -> Vec<Message> {
        let mut reader = Reader::default();
        let mut all = Vec::new();
        for piece in pieces {
            reader.push(piece).unwrap();
            while let Some(message) = reader.pop() {
                all.push(message);
            }
        }
        all
    }

    const STREAM: &[u8] = b": hello\n\nevent: problem\ndata: {\"a\":\ndata:1}\nid: 7\r\n\r\n\ndata: two\n\ndata: unfinished\n";

    #[test]
    fn events_end_at_empty_lines_and_comments_are_no_events() {
        let wanted = [
            Message {
                event: "problem".into(),
                data: "{\"a\":\n1}".into(),
            },
            Message {
                event: String::new(),
                data: "two".into(),
            },
        ];
        assert_eq!(read_all(&[STREAM]), wanted);
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_the_bytes_come(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&STREAM[from..cut]);
                from = cut;
            }
            pieces.push(&STREAM[from..]);
            prop_assert_eq!(read_all(&pieces), read_all(&[STREAM]));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            read_all(&[&bytes]);
        }
    }
}
