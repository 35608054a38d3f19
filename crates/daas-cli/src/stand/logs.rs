use crate::completions;
use crate::human;
use crate::line::Lines;
use crate::project_args::parse_span;
use crate::stop::Stop;
use crate::talk::Talk;
use crate::target::Target;
use clap::Args;
use daas_api::{LogChunk, LogQuery, LogStream};
use daas_model::{NodeName, Span};
use futures_util::TryStreamExt;
use std::collections::HashMap;

/// Prints logs.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The stand, or one node of it: `shop/web`.
    #[arg(value_name = "STAND[/NODE]", add = completions::targets())]
    target: Target,
    /// More nodes [default: all].
    #[arg(value_name = "NODE")]
    nodes: Vec<NodeName>,
    /// Goes on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// Only so many lines from the end of each node.
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what was written in the last `10min`, `2h`.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    since: Option<Span>,
    /// Puts the time before each line (UTC).
    #[arg(short, long)]
    timestamps: bool,
    /// Shows control characters instead of sending them to the terminal.
    #[arg(long)]
    escape: bool,
    /// Puts no name before the lines of several nodes.
    #[arg(long)]
    no_prefix: bool,
}

impl Logs {
    /// Returns the nodes that were named; none means all.
    fn named(&self) -> Vec<&NodeName> {
        self.target.node.iter().chain(&self.nodes).collect()
    }
}

pub(crate) async fn run(logs: Logs, talk: &Talk) -> Result<(), Stop> {
    let since_ms = logs.since.map(|since| {
        talk.terminal
            .now_ms()
            .saturating_sub(u64::try_from(since.0.as_millis()).unwrap_or(u64::MAX))
    });
    let nodes = logs.named();
    let names: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
    let query = LogQuery {
        node: names.join(","),
        follow: logs.follow,
        tail: logs.tail,
        since_ms,
    };
    if talk.json {
        let mut chunks = talk.client.logs(&logs.target.stand, &query).await?;
        while let Some(chunk) = chunks.try_next().await? {
            talk.json_line(&chunk)?;
        }
        return Ok(());
    }
    let one = nodes.len() == 1 || logs.no_prefix;
    if one && !logs.timestamps && !logs.escape {
        // As they were written, byte by byte.
        let mut bytes = talk.client.raw_logs(&logs.target.stand, &query).await?;
        while let Some(piece) = bytes.try_next().await? {
            talk.data(piece)?;
        }
        return Ok(());
    }
    let mut writer = Writer::new(&logs, one, talk).await?;
    let mut chunks = talk.client.logs(&logs.target.stand, &query).await?;
    while let Some(chunk) = chunks.try_next().await? {
        writer.write(&chunk)?;
    }
    writer.finish()
}

/// Puts pieces together to lines with the name of their node before them.
struct Writer<'a> {
    talk: &'a Talk,
    timestamps: bool,
    escape: bool,
    /// The order of the nodes, and how wide their names are; nothing without names.
    names: Option<(Vec<NodeName>, usize)>,
    lines: HashMap<(NodeName, LogStream), (Lines, u64)>,
}

impl<'a> Writer<'a> {
    async fn new(logs: &Logs, one: bool, talk: &'a Talk) -> Result<Self, Stop> {
        let names = if one {
            None
        } else {
            let nodes: Vec<NodeName> = talk
                .client
                .stand(&logs.target.stand)
                .await?
                .nodes
                .into_iter()
                .map(|node| node.name)
                .collect();
            let named = logs.named();
            let shown = nodes
                .iter()
                .filter(|node| named.is_empty() || named.contains(node));
            let width = shown.map(|node| node.as_str().len()).max().unwrap_or(0);
            Some((nodes, width))
        };
        Ok(Self {
            talk,
            timestamps: logs.timestamps,
            escape: logs.escape,
            names,
            lines: HashMap::new(),
        })
    }

    fn write(&mut self, chunk: &LogChunk) -> Result<(), Stop> {
        let (lines, at_us) = self
            .lines
            .entry((chunk.node.clone(), chunk.stream))
            .or_default();
        let whole = lines.push(&chunk.bytes.0);
        *at_us = chunk.at_us;
        let mut text = Vec::new();
        for line in whole {
            self.line(&chunk.node, chunk.at_us, &line, &mut text);
        }
        self.talk.data(text)
    }

    fn finish(&mut self) -> Result<(), Stop> {
        let mut rests: Vec<(NodeName, u64, Vec<u8>)> = self
            .lines
            .iter_mut()
            .filter_map(|((node, _), (lines, at_us))| {
                lines.rest().map(|rest| (node.clone(), *at_us, rest))
            })
            .collect();
        rests.sort();
        let mut text = Vec::new();
        for (node, at_us, mut rest) in rests {
            rest.push(b'\n');
            self.line(&node, at_us, &rest, &mut text);
        }
        self.talk.data(text)
    }

    fn line(&self, node: &NodeName, at_us: u64, line: &[u8], text: &mut Vec<u8>) {
        if let Some((names, width)) = &self.names {
            let place = names
                .iter()
                .position(|name| name == node)
                .unwrap_or(names.len());
            text.extend_from_slice(
                self.talk
                    .paint
                    .nth(place, &format!("{node:width$} |"))
                    .as_bytes(),
            );
            text.push(b' ');
        }
        if self.timestamps {
            text.extend_from_slice(self.talk.paint.dim(&human::moment(at_us)).as_bytes());
            text.push(b' ');
        }
        if self.escape {
            let body = line.strip_suffix(b"\n").unwrap_or(line);
            text.extend_from_slice(escaped(body).as_bytes());
            text.push(b'\n');
        } else {
            text.extend_from_slice(line);
        }
    }
}

/// Writes text as it is, and everything else by its number.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .map(|chunk| {
            daas_model::visible(chunk.valid()).replace("\\u{9}", "\t")
                + &chunk
                    .invalid()
                    .iter()
                    .map(|byte| format!("\\x{byte:02x}"))
                    .collect::<String>()
        })
        .collect()
}
