//! Hostile size: every input ends soon, with a code that names the limit.

use crate::support::{codes, files, read, read_files, request, service, told};
use daas_spec::read_project;
use std::fmt::Write;

/// Asserts that the file is refused by `code`, with a place.
fn refused(text: &str, code: &str) {
    let outcome = read(text);
    let found = outcome.diagnostics.iter().find(|d| d.code == code);
    let start: String = text.chars().take(200).collect();
    let shown: String = told(&outcome).chars().take(2000).collect();
    assert!(
        found.is_some_and(|d| d.place.as_ref().is_some_and(|p| p.line > 0 && p.column > 0)),
        "{code} for {start}\n{shown}"
    );
    assert!(outcome.spec.is_none());
    assert!(outcome.diagnostics.len() <= 201);
}

#[test]
fn files_scalars_and_trees_have_a_size() {
    refused(&"#".repeat((1 << 20) + 1), "file-too-big");
    refused(
        &format!(
            "services: {{s: {{image: i, labels: [{}]}}}}",
            "a,".repeat(20_000)
        ),
        "yaml-too-many-nodes",
    );
    let mut wide = "services:\n".to_owned();
    for i in 0..20_000 {
        let _ = writeln!(wide, "  s{i}: {{image: i}}");
    }
    refused(&wide, "yaml-too-many-nodes");
    refused(
        &format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
        "yaml-too-deep",
    );
    refused(&"a: {".repeat(5000), "yaml-too-deep");
    let mut steps = String::new();
    for i in 0..200 {
        let _ = writeln!(steps, "{}a:", " ".repeat(i));
    }
    refused(&steps, "yaml-too-deep");
    refused(&"- ".repeat(5000), "yaml-too-deep");
    refused(
        &format!("? {}\n: b\n", "a".repeat(2000)),
        "yaml-key-too-long",
    );
}

#[test]
fn thirty_two_levels_are_enough_and_one_more_is_not() {
    let nested = |levels: usize| {
        format!(
            "services: {{s: {{image: i}}}}\nx-deep: {}v{}\n",
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert_eq!(told(&read(&nested(31))), "");
    refused(&nested(32), "yaml-too-deep");
}

#[test]
fn alias_bombs_are_counted_before_they_are_copied() {
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in ('a'..='i').zip('b'..='j') {
        let _ = writeln!(
            laughs,
            "{name}: &{name} [{}]",
            vec![format!("*{before}"); 9].join(", ")
        );
    }
    refused(&laughs, "yaml-too-many-nodes");
    refused(
        &format!("a: &a x\nb: [{}]\n", vec!["*a"; 201].join(", ")),
        "yaml-too-many-aliases",
    );
    refused(
        &format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            vec!["*a"; 100].join(", ")
        ),
        "yaml-too-much-text",
    );
    let mut merges = "x-a: &a {k: v}\n".to_owned();
    for (before, name) in ('a'..='y').zip('b'..='z') {
        let _ = writeln!(
            merges,
            "x-{name}: &{name} {{<<: *{before}, {name}: {{<<: *{before}}}}}"
        );
    }
    refused(&merges, "yaml-too-many-nodes");
    let mut anchors = String::new();
    for _ in 0..30 {
        anchors.push_str("&x [");
    }
    let anchors = format!("a: {}{}{}", anchors, "v, ".repeat(3000), "]".repeat(30));
    refused(&anchors, "yaml-too-many-nodes");
    let mut deep = "a: &a [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
    deep.push_str("b: &b [[[[[[[[[[*a]]]]]]]]]]\nc: &c [[[[[[[[[[*b]]]]]]]]]]\nd: [[[*c]]]\n");
    refused(&deep, "yaml-too-deep");
}

#[test]
fn variables_that_multiply_have_an_end() {
    let big = "x".repeat(500_000);
    let all = files(&[(
        "compose.yaml",
        &service(
            "labels: ['a=$BIG', 'b=$BIG$BIG$BIG', 'c=$BIG', 'd=$BIG', 'e=$BIG$BIG', 'f=$BIG$BIG', 'g=$BIG$BIG', 'h=$BIG$BIG']",
        ),
    )]);
    let mut request = request();
    request.env.insert("BIG".into(), big);
    let outcome = read_project(&all, &request);
    assert!(
        codes(&outcome).contains(&"variable-budget"),
        "{:?}",
        codes(&outcome)
    );
    refused(
        &service(&format!(
            "command: '{}x{}'",
            "${A:-".repeat(50),
            "}".repeat(50)
        )),
        "variable-budget",
    );
    refused(
        &service(&format!("command: '{}'", "${A:-".repeat(50_000))),
        "variable-syntax",
    );
    // A variable that names itself is read once.
    let outcome = read_files(&[
        ("compose.yaml", &service("hostname: $A")),
        (".env", "A=$A$B\nB=$A$B\n"),
    ]);
    assert_eq!(codes(&outcome), ["variable-unset", "variable-unset"]);
}

#[test]
fn bases_and_includes_that_multiply_have_an_end() {
    let mut chain = "services:\n  s0: {image: i, labels: {".to_owned();
    for i in 0..200 {
        let _ = write!(chain, "k{i}: v, ");
    }
    chain.push_str("}}\n");
    for i in 1..2000 {
        let _ = writeln!(chain, "  s{i}: {{extends: s{}}}", i - 1);
    }
    refused(&chain, "project-too-big");
    let mut long = "services:\n".to_owned();
    for i in 0..1500 {
        let _ = writeln!(long, "  s{i}: {{extends: s{}}}", i + 1);
    }
    long.push_str("  s1500: {image: i}\n");
    let outcome = read(&long);
    assert_eq!(codes(&outcome), ["nodes-too-many"], "{}", told(&outcome));

    let names: Vec<String> = (0..12).map(|i| format!("f{i}.yaml")).collect();
    let texts: Vec<String> = (0..12)
        .map(|i| {
            if i < 11 {
                format!(
                    "include: [f{0}.yaml, f{0}.yaml]\nservices: {{s{i}: {{image: i}}}}\n",
                    i + 1
                )
            } else {
                "services: {z: {image: i}}\n".to_owned()
            }
        })
        .collect();
    let mut list: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(texts.iter().map(String::as_str))
        .collect();
    list.push((
        "compose.yaml",
        "include: [f0.yaml]\nservices: {s: {image: i}}\n",
    ));
    let outcome = read_files(&list);
    assert!(
        codes(&outcome).contains(&"project-too-big"),
        "{:?}",
        codes(&outcome)
    );

    let names: Vec<String> = (0..40).map(|i| format!("g{i}.yaml")).collect();
    let texts: Vec<String> = (0..40)
        .map(|i| {
            format!(
                "include: [g{}.yaml]\nservices: {{g{i}: {{image: i}}}}\n",
                i + 1
            )
        })
        .collect();
    let mut list: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(texts.iter().map(String::as_str))
        .collect();
    list.push((
        "compose.yaml",
        "include: [g0.yaml]\nservices: {s: {image: i}}\n",
    ));
    assert!(codes(&read_files(&list)).contains(&"include-too-deep"));
}

#[test]
fn nodes_ports_and_networks_have_a_number() {
    refused(
        "services:\n  a: {image: i, scale: 1000}\n  b: {image: i}\n",
        "nodes-too-many",
    );
    let mut many = "services:\n".to_owned();
    for i in 0..1001 {
        let _ = writeln!(many, "  s{i}: {{image: i}}");
    }
    refused(&many, "nodes-too-many");
    let mut exposing = "services:\n".to_owned();
    for i in 0..900 {
        let _ = writeln!(exposing, "  s{i}: {{image: i, expose: [1-65535]}}");
    }
    refused(&exposing, "project-too-big");
    let outcome = read(&service(
        "ports: ['1-65535:1-65535', '1-65535:1-65535/udp']",
    ));
    assert_eq!(told(&outcome), "");
    refused(
        "services:\n  a: {image: i, ports: ['1-65535:1-65535']}\n  b: {image: i, ports: ['80']}\n  c: {image: i, ports: ['1-65535']}\n",
        "port-clash",
    );
    let mut networks = "services:\n  s: {image: i, networks: [".to_owned();
    for i in 0..300 {
        let _ = write!(networks, "n{i}, ");
    }
    networks.push_str("]}\nnetworks:\n");
    for i in 0..300 {
        let _ = writeln!(networks, "  n{i}:");
    }
    refused(&networks, "networks-too-many");
    let pools = vec!["{subnet: 10.0.0.0/24}"; 100].join(", ");
    refused(
        &format!(
            "services: {{s: {{image: i}}}}\nnetworks: {{default: {{ipam: {{config: [{pools}]}}}}}}\n"
        ),
        "subnets-too-many",
    );
}

#[test]
fn a_flood_of_faults_is_cut() {
    let mut text = "services:\n".to_owned();
    for i in 0..900 {
        let _ = writeln!(
            text,
            "  s{i}: {{image: i, depends_on: [x{i}, y{i}], prots: [], user: -1}}"
        );
    }
    let outcome = read(&text);
    assert_eq!(outcome.diagnostics.len(), 201);
    assert_eq!(outcome.diagnostics.last().unwrap().code, "diagnostics-cut");
    assert!(outcome.spec.is_none());
    let circle: String = (0..900)
        .map(|i| format!("  s{i}: {{image: i, depends_on: [s{}]}}\n", (i + 1) % 900))
        .collect();
    refused(&format!("services:\n{circle}"), "depends-cycle");
}
