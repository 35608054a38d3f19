//! `build`: how the image of a service is made.

use super::{Desk, Who};
use crate::dockerfile::Remote;
use crate::node::{At, Entry, Map, Node, Value};
use crate::path;
use crate::request::{BuildSecret, ServiceBuild};
use crate::template::short;
use crate::value;
use daas_model::{Diagnostic, Grant, ImageName, Severity};
use std::collections::BTreeMap;

/// Reads the `build` of a service whose image is `image`; its faults are told, and nothing is returned then.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    entry: &Entry,
    image: &ImageName,
) -> Option<ServiceBuild> {
    let node = &entry.value;
    let mut build = ServiceBuild {
        service: who.name.to_owned(),
        image: image.clone(),
        ..ServiceBuild::new(image.clone())
    };
    let empty = Map {
        entries: Vec::new(),
    };
    let (context, at, map) = match &node.value {
        // A text is the context (Compose Build Specification).
        Value::Text(_) => (
            value::text(desk.report(), node, &who.key("build"))?.to_owned(),
            node.at,
            &empty,
        ),
        _ => {
            let map = value::map(desk.report(), node, &who.key("build"))?;
            match map.get("context").filter(|n| !n.is_null()) {
                Some(context) => (
                    value::text(desk.report(), context, &who.key("build.context"))?.to_owned(),
                    context.at,
                    map,
                ),
                None => (".".to_owned(), node.at, map),
            }
        }
    };
    build.context = place(desk, &who.key("build.context"), at, &context)?;
    texts(desk, who, map, &mut build);
    build.args = pairs(desk, who, map, "args");
    for (name, value) in &mut build.args {
        if value.is_none() {
            *value = desk.variable(name);
        }
    }
    build.labels = pairs(desk, who, map, "labels")
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect();
    for (name, place_of) in pairs(desk, who, map, "additional_contexts") {
        let at = map.get("additional_contexts").map_or(node.at, |n| n.at);
        let key = who.key("build.additional_contexts");
        let text = place_of.unwrap_or_default();
        // `docker-image://`, `packages://`, `service:` and the like stay as they are.
        let is_other = text.contains("://") && !Remote::is_remote(&text);
        let place = if is_other || text.starts_with("service:") {
            text
        } else {
            place(desk, &key, at, &text)?
        };
        build.additional_contexts.insert(name, place);
    }
    flags(desk, who, map, &mut build);
    build.extra_hosts = super::wiring::hosts(desk, who, map, "build.extra_hosts");
    build.ulimits = super::resources::ulimits(desk, who, map, "build.ulimits");
    secrets(desk, who, map, &mut build);
    refused(desk, who, map);
    Some(build)
}

/// Makes a context's place absolute; an address stays as it is.
fn place(desk: &mut Desk<'_, '_>, key: &str, at: At, text: &str) -> Option<String> {
    match Remote::parse(text) {
        Ok(Some(_)) => Some(text.to_owned()),
        Ok(None) => Some(path::join(desk.reading.report.base(at), text)),
        Err(fault) => {
            desk.report().say(
                at,
                Diagnostic::error("context-address", format!("{key} is `{}`", short(text)))
                    .because(fault.to_string())
                    .hint("write `https://host/path.git#branch:folder`, or a folder"),
            );
            None
        }
    }
}

fn texts(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, build: &mut ServiceBuild) {
    let mut text = |key: &str| {
        map.get(key).filter(|n| !n.is_null()).and_then(|n| {
            value::text(desk.report(), n, &who.key(&format!("build.{key}"))).map(str::to_owned)
        })
    };
    build.dockerfile = text("dockerfile");
    build.dockerfile_inline = text("dockerfile_inline");
    build.target = text("target");
    build.network = text("network");
    if build.network.as_deref() == Some("host")
        && let Some(node) = map.get("network")
    {
        desk.granted(
            node.at,
            &Grant::HostNamespace("network".to_owned()),
            format!(
                "the build of service `{}` asks for the host's network",
                who.name
            ),
            "a command on the host's network reaches everything that the host reaches, and other stands",
        );
    }
    if build.dockerfile.is_some()
        && build.dockerfile_inline.is_some()
        && let Some(node) = map.get("dockerfile_inline")
    {
        desk.report().error(
            node.at,
            "dockerfile-twice",
            format!(
                "service `{}` has a `dockerfile` and a `dockerfile_inline`",
                who.name
            ),
            "keep one",
        );
    }
}

fn pairs(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    key: &str,
) -> BTreeMap<String, Option<String>> {
    let Some(node) = map.get(key).filter(|n| !n.is_null()) else {
        return BTreeMap::new();
    };
    value::pairs(desk.report(), node, &who.key(&format!("build.{key}")))
        .into_iter()
        .map(|pair| (pair.name, pair.value))
        .collect()
}

fn flags(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, build: &mut ServiceBuild) {
    let mut flag = |key: &str| {
        map.get(key)
            .filter(|n| !n.is_null())
            .and_then(|n| value::boolean(desk.report(), n, &who.key(&format!("build.{key}"))))
            .unwrap_or(false)
    };
    build.no_cache = flag("no_cache");
    build.pull = flag("pull");
    if let Some(node) = map.get("shm_size") {
        build.shm_size = value::size(desk.report(), node, &who.key("build.shm_size"));
    }
    let list = |desk: &mut Desk<'_, '_>, key: &str| -> Vec<(String, At)> {
        match map.get(key).filter(|n| !n.is_null()) {
            Some(node) => value::texts(desk.report(), node, &who.key(&format!("build.{key}")))
                .into_iter()
                .map(|(text, at)| (text.to_owned(), at))
                .collect(),
            None => Vec::new(),
        }
    };
    build.platforms = list(desk, "platforms")
        .into_iter()
        .map(|(t, _)| t)
        .collect();
    build.ssh = list(desk, "ssh").into_iter().map(|(t, _)| t).collect();
    for (text, at) in list(desk, "tags") {
        match ImageName::parse(&text) {
            Ok(tag) => build.tags.push(tag),
            Err(fault) => desk.report().error(
                at,
                "image-name",
                fault.to_string(),
                "write for example `team/app:2`",
            ),
        }
    }
}

fn secrets(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, build: &mut ServiceBuild) {
    let Some(node) = map.get("secrets").filter(|n| !n.is_null()) else {
        return;
    };
    let what = who.key("build.secrets");
    for item in value::list(desk.report(), node, &what) {
        let (source, target) = match &item.value {
            Value::Map(entry) => {
                let field = |desk: &mut Desk<'_, '_>, key: &str| {
                    entry.get(key).and_then(|n: &Node| {
                        value::text(desk.report(), n, &what).map(str::to_owned)
                    })
                };
                (field(desk, "source"), field(desk, "target"))
            }
            _ => (
                value::text(desk.report(), item, &what).map(str::to_owned),
                None,
            ),
        };
        let Some(source) = source else {
            if item.as_text() != Some(crate::node::FAULTY) {
                desk.report().error(
                    item.at,
                    "source-missing",
                    format!("an entry of {what} has no `source`"),
                    "`source` is the name of a secret",
                );
            }
            continue;
        };
        let declared = desk.declared("secrets", &source).map(|e| &e.value);
        let Some(declared) = declared.and_then(Node::as_map) else {
            desk.undeclared("secrets", &source, item.at, &who);
            continue;
        };
        let field = |desk: &mut Desk<'_, '_>, key: &str| {
            let node = declared.get(key).filter(|n| !n.is_null())?;
            let text = value::text(desk.report(), node, &what)?.to_owned();
            Some((text, node.at))
        };
        let file =
            field(desk, "file").map(|(file, at)| path::join(desk.reading.report.base(at), &file));
        let environment = field(desk, "environment").map(|(name, _)| name);
        if file.is_none() && environment.is_none() {
            desk.report().error(
                item.at,
                "secret-source",
                format!(
                    "secret `{}` of a build comes from no file and no variable",
                    short(&source)
                ),
                "give it a `file` or an `environment`",
            );
            continue;
        }
        build.secrets.push(BuildSecret {
            id: target.unwrap_or(source),
            file,
            environment,
        });
    }
}

/// Tells what has no effect, and refuses what would leave the stand.
fn refused(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map) {
    for (key, why) in [
        (
            "cache_from",
            "steps are found again by their content, whoever made them in this project",
        ),
        ("cache_to", "every step is kept"),
        (
            "isolation",
            "every command has namespaces and a filter of its own",
        ),
        ("no_cache_filter", "`no_cache` is for the whole build"),
        (
            "provenance",
            "every image that is built gets a statement of where it comes from",
        ),
        (
            "sbom",
            "every image that is built gets a list of what is in it",
        ),
    ] {
        if let Some(entry) = map.entry(key).filter(|e| !e.value.is_null()) {
            desk.report().ignore(
                Severity::Note,
                entry.at,
                &format!("services.{}.build.{key}", who.name),
                why,
            );
        }
    }
    if let Some(node) = map.get("privileged")
        && value::boolean(desk.report(), node, &who.key("build.privileged")) == Some(true)
    {
        desk.report().say(
            node.at,
            Diagnostic::error(
                "build-privileged",
                format!("the build of service `{}` is privileged", who.name),
            )
            .because("a command of a build never has rights on the host")
            .hint("remove `privileged`"),
        );
    }
    if let Some(node) = map.get("entitlements").filter(|n| !n.is_null()) {
        desk.report().say(
            node.at,
            Diagnostic::error(
                "build-privileged",
                format!("the build of service `{}` asks for entitlements", who.name),
            )
            .because("a command of a build never has rights on the host")
            .hint("remove `entitlements`"),
        );
    }
}
