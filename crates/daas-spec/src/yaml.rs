//! Bytes to a tree with places, within fixed budgets (threat S26).

use crate::nearest::nearest;
use crate::node::{At, Entry, FAULTY, Map, MergeTag, Node, Text, Value, Weight};
use crate::report::Report;
use crate::request::MAX_FILE;
use crate::template::short;
use daas_model::Diagnostic;
use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::HashMap;

/// The most nodes of one file after its aliases are expanded; keys count, too.
pub(crate) const MAX_NODES: usize = 20_000;
/// The most bytes of text of one file after its aliases are expanded.
pub(crate) const MAX_TEXT: usize = 4 * MAX_FILE;
/// The most aliases of one file.
pub(crate) const MAX_ALIASES: usize = 200;
/// The most bytes of one key; the YAML parser allows plain keys no more, either.
const MAX_KEY: usize = 1024;
/// The most collections in one another, aliases expanded.
pub(crate) const MAX_DEPTH: usize = 32;

/// Parses one file; faults go to `report`.
///
/// Returns nothing if the text has no usable tree. A tree may come together with faults: the rest is still worth checking.
pub(crate) fn parse(bytes: &[u8], source: u16, report: &mut Report) -> Option<Node> {
    let text = decode(bytes, source, report)?;
    Builder::new(source, report).run(text)
}

/// Checks size, encoding and characters, and skips a byte-order mark.
pub(crate) fn decode<'b>(bytes: &'b [u8], source: u16, report: &mut Report) -> Option<&'b str> {
    if bytes.len() > MAX_FILE {
        report.say(
            At {
                source,
                line: 1,
                column: 1,
            },
            Diagnostic::error("file-too-big", "the file is larger than 1 MiB")
                .because(format!("it has {} bytes or more", bytes.len()))
                .hint("is it the right file?"),
        );
        return None;
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        report.error(
            At {
                source,
                line: 1,
                column: 1,
            },
            "text-not-utf8",
            "the file is UTF-16",
            "save it as UTF-8",
        );
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(fault) => {
            let before = String::from_utf8_lossy(&bytes[..fault.valid_up_to()]);
            let byte = bytes.get(fault.valid_up_to()).copied().unwrap_or_default();
            report.say(
                end_of(&before, source),
                Diagnostic::error("text-not-utf8", "the file is not UTF-8")
                    .because(format!(
                        "byte 0x{byte:02x} begins no character; it may be Latin-1"
                    ))
                    .hint("save it as UTF-8"),
            );
            return None;
        }
    };
    // YAML 1.2.2 section 5.1 allows no other control characters.
    if let Some((index, c)) = text
        .char_indices()
        .find(|(_, c)| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r'))
    {
        report.say(
            end_of(&text[..index], source),
            Diagnostic::error(
                "text-control-character",
                format!("the file has the control character U+{:04X}", u32::from(c)),
            )
            .hint("remove it, or write it as an escape in double quotes"),
        );
        return None;
    }
    Some(text)
}

/// Returns the place right behind `text`.
fn end_of(text: &str, source: u16) -> At {
    let mut at = At {
        source,
        line: 1,
        column: 1,
    };
    let mut previous = '\0';
    for c in text.chars() {
        match c {
            '\n' if previous == '\r' => {}
            '\n' | '\r' => {
                at.line += 1;
                at.column = 1;
            }
            _ => at.column += 1,
        }
        previous = c;
    }
    at
}

/// A collection that is still open.
enum Open {
    List {
        at: At,
        tag: MergeTag,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: At,
        tag: MergeTag,
        anchor: usize,
        map: Map,
        seen: HashMap<String, At>,
        key: Option<(String, At)>,
        merges: Vec<Node>,
    },
}

struct Anchored {
    node: Node,
    weight: Weight,
    height: usize,
}

struct Builder<'r> {
    source: u16,
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    /// What the tree costs, and what the copies under anchors cost.
    spent: Weight,
    kept: Weight,
    aliases: usize,
    root: Option<Node>,
    documents: usize,
}

/// The parse cannot go on; it is already in the report.
struct Stop;

/// The key under which other maps are merged in (YAML merge key, still in every compose tool).
const MERGE_KEY: &str = "<<";

impl<'r> Builder<'r> {
    fn new(source: u16, report: &'r mut Report) -> Self {
        Self {
            source,
            report,
            open: Vec::new(),
            anchors: HashMap::new(),
            spent: Weight::default(),
            kept: Weight::default(),
            aliases: 0,
            root: None,
            documents: 0,
        }
    }

    fn at(&self, marker: &Marker) -> At {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        At {
            source: self.source,
            line: small(marker.line()).max(1),
            column: small(marker.col()).saturating_add(1),
        }
    }

    fn run(mut self, text: &str) -> Option<Node> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH + 1,
            block_nesting_limit: MAX_DEPTH + 1,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            let done = match event {
                Ok((event, span)) => self.event(event, &span),
                Err(fault) => {
                    self.syntax(&fault);
                    Err(Stop)
                }
            };
            if done.is_err() {
                return None;
            }
        }
        match self.root {
            Some(node) if !node.is_null() => Some(node),
            Some(_) | None => {
                self.report.error(
                    At {
                        source: self.source,
                        line: 1,
                        column: 1,
                    },
                    "file-empty",
                    "the file says nothing",
                    "a project begins with `services:`",
                );
                None
            }
        }
    }

    fn fail(&mut self, at: At, diagnostic: Diagnostic) -> Stop {
        self.report.say(at, diagnostic);
        Stop
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let at = self.at(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                Ok(())
            }
            Event::Alias(id) => self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let (merge, forced) = self.tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !forced;
                let bytes = text.len();
                self.spend(Weight { nodes: 1, bytes }, at)?;
                let value = self.scalar(text.into_owned(), style, plain, span);
                self.put(
                    Node {
                        at,
                        tag: merge,
                        value,
                    },
                    anchor,
                    plain,
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.deeper(at)?;
                let (tag, _) = self.tag(tag.as_deref(), span);
                self.open.push(Open::List {
                    at,
                    tag,
                    anchor,
                    items: Vec::new(),
                });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.deeper(at)?;
                let (tag, _) = self.tag(tag.as_deref(), span);
                self.open.push(Open::Map {
                    at,
                    tag,
                    anchor,
                    map: Map::default(),
                    seen: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List {
                    at,
                    tag,
                    anchor,
                    items,
                }) => self.put(
                    Node {
                        at,
                        tag,
                        value: Value::List(items),
                    },
                    anchor,
                    false,
                ),
                Some(Open::Map {
                    at,
                    tag,
                    anchor,
                    map,
                    seen,
                    merges,
                    ..
                }) => {
                    let map = self.merge_in(map, &seen, merges)?;
                    self.put(
                        Node {
                            at,
                            tag,
                            value: Value::Map(map),
                        },
                        anchor,
                        false,
                    )
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Makes the value of a scalar.
    fn scalar(&mut self, text: String, style: ScalarStyle, plain: bool, span: &Span) -> Value {
        if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
            return Value::Null;
        }
        if text.contains('\0') {
            let at = self.at(&span.start);
            self.report.error(
                at,
                "text-control-character",
                "a text holds a NUL",
                "no value of a project may hold one",
            );
            return Value::Text(Text {
                text: FAULTY.to_owned(),
                plain: false,
                lead: None,
            });
        }
        let quote = match style {
            ScalarStyle::Plain => Some(0),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Some(1),
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let lead = quote.filter(|quote| {
            let letters = span.len().checked_sub(2 * usize::from(*quote));
            span.start.line() == span.end.line() && letters == Some(text.chars().count())
        });
        Value::Text(Text { text, plain, lead })
    }

    fn deeper(&mut self, at: At) -> Result<(), Stop> {
        self.spend(Weight { nodes: 1, bytes: 0 }, at)?;
        if self.open.len() >= MAX_DEPTH {
            Err(self.too_deep(at))
        } else {
            Ok(())
        }
    }

    fn too_deep(&mut self, at: At) -> Stop {
        self.fail(
            at,
            Diagnostic::error(
                "yaml-too-deep",
                format!("more than {MAX_DEPTH} lists and maps lie in one another"),
            )
            .hint("a compose file needs about 8"),
        )
    }

    fn spend(&mut self, cost: Weight, at: At) -> Result<(), Stop> {
        self.spent.add(cost);
        if self.spent.nodes > MAX_NODES {
            return Err(self.fail(
                at,
                Diagnostic::error(
                    "yaml-too-many-nodes",
                    format!("the file has more than {MAX_NODES} values"),
                )
                .because("aliases count as often as they are used")
                .hint("split the project into several files with `include`"),
            ));
        }
        if self.spent.bytes > MAX_TEXT {
            return Err(self.fail(
                at,
                Diagnostic::error("yaml-too-much-text", "the file's text grows beyond 4 MiB")
                    .because("aliases count as often as they are used"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: At) -> Result<(), Stop> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(self.fail(
                at,
                Diagnostic::error(
                    "yaml-too-many-aliases",
                    format!("the file uses more than {MAX_ALIASES} aliases"),
                ),
            ));
        }
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(self.fail(
                at,
                Diagnostic::error("yaml-anchor-unknown", "an alias lies inside its own anchor")
                    .hint("a value cannot contain itself"),
            ));
        };
        let (weight, height) = (anchored.weight, anchored.height);
        if self.open.len() + height > MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        // The budget is asked before the copy is made.
        self.spend(weight, at)?;
        let node = self.anchors[&id].node.clone();
        self.put(node, 0, false)
    }

    /// Puts a finished node where it belongs: into the open list or map, as key or value, or as the root.
    fn put(&mut self, node: Node, anchor: usize, plain: bool) -> Result<(), Stop> {
        if anchor > 0 {
            let weight = node.weight();
            self.kept.add(weight);
            if self.kept.nodes > MAX_NODES || self.kept.bytes > MAX_TEXT {
                return Err(self.fail(
                    node.at,
                    Diagnostic::error("yaml-too-many-nodes", "the file's anchors hold too much")
                        .because("anchors in anchors count several times"),
                ));
            }
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    weight,
                    height: node.height(),
                },
            );
        }
        match self.open.last_mut() {
            None => self.put_root(node),
            Some(Open::List { items, .. }) => {
                items.push(node);
                Ok(())
            }
            Some(Open::Map { key, .. }) => match key.take() {
                None => self.put_key(node, plain),
                Some((name, at)) => {
                    self.put_entry(name, at, node);
                    Ok(())
                }
            },
        }
    }

    fn put_root(&mut self, node: Node) -> Result<(), Stop> {
        if self.documents <= 1 {
            self.root = Some(node);
            return Ok(());
        }
        if node.is_null() {
            return Ok(());
        }
        let hint = "a project is one document: remove the `---`, or use a file for each and pass them with `-f`";
        let diagnostic =
            Diagnostic::error("yaml-several-documents", "the file has a second document");
        Err(self.fail(node.at, diagnostic.hint(hint)))
    }

    fn put_key(&mut self, node: Node, plain: bool) -> Result<(), Stop> {
        let kind = node.kind();
        let text = match node.value {
            Value::Text(text) => text.text,
            Value::Null => "null".to_owned(),
            Value::List(_) | Value::Map(_) => {
                let hint = "a key is a word; `{{ ... }}` of a template must stand in quotes";
                let diagnostic = Diagnostic::error("yaml-key-kind", format!("a key is {kind}"));
                return Err(self.fail(node.at, diagnostic.hint(hint)));
            }
        };
        if text.len() > MAX_KEY {
            let message = format!("a key has {} bytes", text.len());
            let diagnostic = Diagnostic::error("yaml-key-too-long", message);
            return Err(self.fail(
                node.at,
                diagnostic.because(format!("{MAX_KEY} are allowed")),
            ));
        }
        // Only an unquoted `<<` merges.
        let text = if text == MERGE_KEY && !plain {
            "\"<<\"".to_owned()
        } else {
            text
        };
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = Some((text, node.at));
        }
        Ok(())
    }

    fn put_entry(&mut self, name: String, at: At, node: Node) {
        let Some(Open::Map {
            map, seen, merges, ..
        }) = self.open.last_mut()
        else {
            return;
        };
        if let Some(first) = seen.get(&name).copied() {
            let place = self.report.place(first);
            let hint = if name == MERGE_KEY {
                "merge several maps by a list: `<<: [*a, *b]`"
            } else {
                "keep one of the two"
            };
            let message = format!("key `{}` stands twice in the same map", short(&name));
            let diagnostic = Diagnostic::error("key-twice", message);
            let cause = format!("it is set first at {place}");
            self.report.say(at, diagnostic.because(cause).hint(hint));
            return;
        }
        seen.insert(name.clone(), at);
        if name == MERGE_KEY {
            merges.push(node);
        } else {
            map.entries.push(Entry {
                key: name,
                at,
                value: node,
            });
        }
    }

    /// Adds the entries of merged maps that the map does not set itself; of several maps the earlier wins.
    fn merge_in(
        &mut self,
        mut map: Map,
        seen: &HashMap<String, At>,
        merges: Vec<Node>,
    ) -> Result<Map, Stop> {
        let mut known: std::collections::HashSet<String> = seen.keys().cloned().collect();
        for merge in merges {
            let parts = match merge.value {
                Value::List(list) => list,
                Value::Map(_) | Value::Null | Value::Text(_) => vec![merge],
            };
            for part in parts {
                let kind = part.kind();
                let Value::Map(other) = part.value else {
                    self.report.error(
                        part.at,
                        "merge-key-kind",
                        format!("`<<` merges maps, and this is {kind}"),
                        "write `<<: *anchor` or `<<: [*a, *b]`",
                    );
                    continue;
                };
                for entry in other.entries {
                    if known.insert(entry.key.clone()) {
                        map.entries.push(entry);
                    }
                }
            }
        }
        Ok(map)
    }

    /// Returns what a tag means for merging, and whether it makes the scalar a text.
    fn tag(&mut self, tag: Option<&Tag>, span: &Span) -> (MergeTag, bool) {
        let Some(tag) = tag else {
            return (MergeTag::None, false);
        };
        if tag.is_yaml_core_schema() {
            return (MergeTag::None, tag.is_yaml_core_schema_tag("str"));
        }
        // `!!merge` before `<<`, `!!timestamp` and the like say nothing about a text.
        if tag.suffix_in_namespace("tag:yaml.org,2002:").is_some() {
            return (MergeTag::None, false);
        }
        match tag.original().as_str() {
            "!" => (MergeTag::None, true),
            "!reset" => (MergeTag::Reset, false),
            "!override" => (MergeTag::Override, false),
            other => {
                let at = self.at(&span.tag_start().unwrap_or(span.start));
                let near = nearest(other, ["!reset", "!override"]);
                let hint = near.map_or_else(
                    || "only `!reset` and `!override` are known".to_owned(),
                    |n| format!("did you mean `{n}`?"),
                );
                self.report.error(
                    at,
                    "yaml-tag-unknown",
                    format!("tag `{other}` means nothing in a compose file"),
                    hint,
                );
                (MergeTag::None, false)
            }
        }
    }

    fn syntax(&mut self, fault: &ScanError) {
        let at = self.at(fault.marker());
        let diagnostic = match fault.kind() {
            ErrorKind::RecursionLimitExceeded => {
                self.too_deep(at);
                return;
            }
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar => {
                Diagnostic::error("yaml-tab", "a tab stands where YAML wants spaces")
                    .hint("indent with spaces only")
            }
            ErrorKind::UnknownAnchor => Diagnostic::error(
                "yaml-anchor-unknown",
                "an alias names an anchor that was not set before",
            )
            .hint("set `&name` above, or quote a text that begins with `*`"),
            ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
                Diagnostic::error("yaml-quote-open", "a quote is not closed")
                    .because(fault.info())
                    .hint("close it in the same line; a longer text is written with `|`")
            }
            ErrorKind::MappingValueNotAllowed => {
                Diagnostic::error("yaml-syntax", "a `:` stands where no key can be")
                    .because(fault.info())
                    .hint("quote a text that holds `: `, and check the indentation of this line")
            }
            ErrorKind::UnknownQuotedScalarEscape => {
                Diagnostic::error("yaml-escape", "an escape in double quotes is not known")
                    .because(fault.info())
                    .hint("write `\\\\` for a backslash, or use single quotes")
            }
            ErrorKind::UnexpectedCharacter { character } => {
                Diagnostic::error("yaml-syntax", format!("`{character}` cannot stand here"))
                    .because(fault.info())
                    .hint("quote a text that begins with `@`, `` ` `` or `%`")
            }
            _ => Diagnostic::error("yaml-syntax", "the file is no YAML from here on")
                .because(fault.info())
                .hint("check indentation, quotes and brackets of this line and the one before"),
        };
        self.report.say(at, diagnostic);
    }
}
