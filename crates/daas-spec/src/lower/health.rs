//! How a node's health is asked.

use super::{Desk, Who};
use crate::node::{Map, Node, Value};
use crate::template::short;
use crate::value;
use daas_model::{HealthCheck, HealthTest, Span};

/// Returns the check; nothing if the service has no `healthcheck`, so that the image's own counts.
pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map) -> Option<HealthCheck> {
    let node = map.get("healthcheck").filter(|n| !n.is_null())?;
    let what = who.key("healthcheck");
    let map = value::map(desk.report(), node, &what)?;
    let mut check = HealthCheck::default();
    if let Some(test_node) = map.get("test") {
        check.test =
            test(desk, test_node, &format!("`test` of {what}")).unwrap_or(HealthTest::Inherit);
    }
    let mut time = |key: &str, field: &mut Span, zero_means_default: bool| {
        if let Some(span) = map
            .get(key)
            .and_then(|n| value::span(desk.report(), n, &format!("`{key}` of {what}")))
        {
            // Docker takes 0 as "not set" for all but the start period.
            if !(zero_means_default && span.0.is_zero()) {
                *field = span;
            }
        }
    };
    time("interval", &mut check.interval, true);
    time("timeout", &mut check.timeout, true);
    time("start_period", &mut check.start_period, false);
    time("start_interval", &mut check.start_interval, true);
    if let Some(retries) = map
        .get("retries")
        .and_then(|n| {
            value::integer::<u32>(
                desk.report(),
                n,
                &format!("`retries` of {what}"),
                0,
                1_000_000,
            )
        })
        .filter(|r| *r > 0)
    {
        check.retries = retries;
    }
    if map
        .get("disable")
        .and_then(|n| value::boolean(desk.report(), n, &format!("`disable` of {what}")))
        == Some(true)
    {
        check.test = HealthTest::None;
    }
    Some(check)
}

fn test(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<HealthTest> {
    match &node.value {
        Value::Null => None,
        Value::Text(_) => {
            let line = value::text(desk.report(), node, what)?;
            if line.trim().is_empty() {
                return None;
            }
            if line == "NONE" {
                desk.report().warn(
                    node.at,
                    "health-none",
                    format!("{what} runs a program `NONE`"),
                    "write `test: [\"NONE\"]` or `disable: true` to ask nothing",
                );
            }
            Some(HealthTest::Shell(line.to_owned()))
        }
        Value::List(_) => {
            let words: Vec<String> = value::texts(desk.report(), node, what)
                .into_iter()
                .map(|(w, _)| w.to_owned())
                .collect();
            let (kind, rest) = words.split_first()?;
            match kind.as_str() {
                "NONE" => Some(HealthTest::None),
                "CMD" if !rest.is_empty() => Some(HealthTest::Exec(rest.to_vec())),
                "CMD-SHELL" if !rest.is_empty() => {
                    if rest.len() > 1 {
                        desk.report().warn(
                            node.at,
                            "health-shell-words",
                            format!("{what} has several words behind `CMD-SHELL`"),
                            "the shell gets one line: they are joined by spaces; `CMD` takes words",
                        );
                    }
                    Some(HealthTest::Shell(rest.join(" ")))
                }
                "CMD" | "CMD-SHELL" => {
                    desk.report().error(
                        node.at,
                        "health-empty",
                        format!("{what} has nothing behind `{kind}`"),
                        "write for example `[\"CMD\", \"curl\", \"-f\", \"http://localhost\"]`",
                    );
                    None
                }
                other => {
                    desk.report().error(
                        node.at,
                        "health-kind",
                        format!("{what} begins with `{}`", short(other)),
                        "a list begins with `CMD`, `CMD-SHELL` or `NONE`",
                    );
                    None
                }
            }
        }
        Value::Map(_) => {
            value::wrong(
                desk.report(),
                node,
                what,
                "a text, or a list that begins with `CMD` or `CMD-SHELL`",
            );
            None
        }
    }
}
