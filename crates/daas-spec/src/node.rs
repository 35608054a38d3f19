use std::collections::HashMap;

/// Where a node begins: which of the sources that were read, line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct At {
    pub(crate) source: u16,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    /// Returns the place `count` characters further on the same line.
    pub(crate) fn plus(self, count: usize) -> Self {
        Self {
            column: self
                .column
                .saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
            ..self
        }
    }
}

/// What a tag says about merging (Compose Specification, "Reset value" and "Replace value").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MergeTag {
    #[default]
    None,
    Reset,
    Override,
}

/// A node of a YAML text: scalars stay text, so that each field decides what `no`, `22:22` and `0400` mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) tag: MergeTag,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(Text),
    List(Vec<Node>),
    Map(Map),
}

/// Stands for a text whose fault is told already: whoever reads it says nothing more. No text of a file holds a NUL.
pub(crate) const FAULTY: &str = "\0";

/// A scalar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// Whether it stood there without quotes.
    pub(crate) plain: bool,
    /// How many characters stand before the text on its line (1 for a quote), if the source shows it letter by letter.
    pub(crate) lead: Option<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) value: Node,
}

/// Entries in the order of the text; no key twice.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Map {
    pub(crate) entries: Vec<Entry>,
}

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|e| e.key == key)?;
        Some(self.entries.remove(index))
    }

    /// Returns where each key stands, for work on many keys.
    pub(crate) fn index(&self) -> HashMap<&str, usize> {
        self.entries
            .iter()
            .enumerate()
            .map(|(i, e)| (e.key.as_str(), i))
            .collect()
    }
}

impl Node {
    pub(crate) fn new(at: At, value: Value) -> Self {
        Self {
            at,
            tag: MergeTag::None,
            value,
        }
    }

    /// Makes a scalar that stands in no source letter by letter.
    pub(crate) fn text(at: At, text: impl Into<String>) -> Self {
        Self::new(
            at,
            Value::Text(Text {
                text: text.into(),
                plain: false,
                lead: None,
            }),
        )
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(t) => Some(&t.text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Returns what it is in a person's words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Counts itself and all below, keys included.
    pub(crate) fn weight(&self) -> Weight {
        let mut weight = Weight { nodes: 1, bytes: 0 };
        match &self.value {
            Value::Null => {}
            Value::Text(t) => weight.bytes += t.text.len(),
            Value::List(list) => {
                for node in list {
                    weight.add(node.weight());
                }
            }
            Value::Map(map) => {
                for entry in &map.entries {
                    weight.add(Weight {
                        nodes: 1,
                        bytes: entry.key.len(),
                    });
                    weight.add(entry.value.weight());
                }
            }
        }
        weight
    }

    /// Returns how many collections lie in each other below it, itself included.
    pub(crate) fn height(&self) -> usize {
        match &self.value {
            Value::Null | Value::Text(_) => 0,
            Value::List(list) => 1 + list.iter().map(Node::height).max().unwrap_or(0),
            Value::Map(map) => {
                1 + map
                    .entries
                    .iter()
                    .map(|e| e.value.height())
                    .max()
                    .unwrap_or(0)
            }
        }
    }
}

/// How much a tree costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weight {
    pub(crate) nodes: usize,
    pub(crate) bytes: usize,
}

impl Weight {
    pub(crate) fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }
}
