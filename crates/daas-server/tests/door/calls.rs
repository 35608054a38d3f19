//! Every endpoint, by the client that everybody uses.

use crate::house::{House, problem, status};
use daas_api::endpoint::ENDPOINTS;
use daas_api::{
    Action, BytesText, DownQuery, EventQuery, ExecRequest, LogQuery, MakeRequest, OperationState,
    PruneRequest, PullRequest, ScaleRequest, StandState, TagRequest, UpRequest,
};
use daas_model::{Grant, ImageName, NodeName, ProjectName, Protocol, ServiceName, StandName};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeSet;

fn stand(text: &str) -> StandName {
    StandName::parse(text).expect("it is a good name")
}

fn node(text: &str) -> NodeName {
    NodeName::parse(text).expect("it is a good name")
}

fn image(text: &str) -> ImageName {
    ImageName::parse(text).expect("it is a good name")
}

fn request(name: Option<&str>, count: Option<u32>) -> UpRequest {
    UpRequest {
        name: name.map(stand),
        count,
        project: daas_api::ProjectSource {
            dir: "/srv/shop".into(),
            ..Default::default()
        },
        options: daas_api::UpOptions::default(),
    }
}

#[tokio::test]
async fn a_stand_is_made_seen_changed_and_thrown_away() {
    let house = House::open().await;
    let client = house.client();
    assert!(
        client.plan(&request(None, None)).await.unwrap()[0]
            .steps
            .len()
            == 3
    );
    let accepted = client.up(&request(None, Some(2)), None).await.unwrap();
    let names: Vec<_> = accepted
        .operations
        .iter()
        .map(|o| o.stand.clone().unwrap().to_string())
        .collect();
    assert_eq!(names, ["shop-1", "shop-2"]);
    let steps: Vec<_> = client
        .follow_operation(&accepted.operations[0].operation)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(
        steps.len() == 5
            && steps[..4]
                .iter()
                .all(|s| s.state == OperationState::Running)
    );
    assert_eq!(
        steps[4],
        client
            .operation(&accepted.operations[0].operation)
            .await
            .unwrap()
    );
    assert_eq!(client.stands().await.unwrap().len(), 2);
    let (first, second) = (stand("shop-1"), stand("shop-2"));
    let view = client.stand(&first).await.unwrap();
    assert_eq!(
        (view.summary.state, view.nodes.len()),
        (StandState::Running, 2)
    );
    for action in Action::ALL {
        client
            .act(
                &first,
                action,
                &daas_api::ActRequest {
                    nodes: vec![node("web")],
                    grace: None,
                },
                None,
            )
            .await
            .unwrap();
    }
    client
        .scale(
            &first,
            &ScaleRequest {
                services: [(ServiceName::parse("web").unwrap(), 3)].into(),
            },
            None,
        )
        .await
        .unwrap();
    client
        .down(&second, &DownQuery { keep_volumes: true }, None)
        .await
        .unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let asked: Vec<_> = house
        .platform
        .asked()
        .iter()
        .map(|line| {
            line.strip_prefix(&format!("uid {uid}: "))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        asked,
        [
            "up shop-1",
            "up shop-2",
            "start shop-1 [\"web\"]",
            "stop shop-1 [\"web\"]",
            "restart shop-1 [\"web\"]",
            "pause shop-1 [\"web\"]",
            "resume shop-1 [\"web\"]",
            "scale shop-1 web=3",
            "down shop-2 keep_volumes=true"
        ]
    );
    assert!(house.close().await.is_empty());
}

#[tokio::test]
async fn failures_cross_the_wire_with_everything_that_a_person_can_use() {
    let house = House::open().await;
    let client = house.client();
    let failure = client.stand(&stand("nope")).await.unwrap_err();
    assert_eq!(
        (failure.code(), failure.kind(), failure.message()),
        (
            "stand-not-found",
            daas_model::Kind::NotFound,
            "no stand `nope`"
        )
    );
    assert!(failure.hint_text().is_some() && failure.request_id().is_some());
    let mut faulty = request(None, None);
    faulty.project.contents.insert(
        "/srv/shop/compose.yaml".into(),
        BytesText(b"a fault".to_vec()),
    );
    let failure = client.up(&faulty, None).await.unwrap_err();
    assert_eq!(
        (failure.code(), failure.diagnostics()[0].code.as_str()),
        ("project-invalid", "port-out-of-range")
    );
    let checked = client.check(&faulty.project).await.unwrap();
    assert!(!checked.valid && checked.diagnostics.len() == 1);
    for count in [0, 1000] {
        assert_eq!(
            client
                .up(&request(None, Some(count)), None)
                .await
                .unwrap_err()
                .code(),
            "stand-count"
        );
    }
}

#[tokio::test]
async fn a_revision_that_is_old_changes_nothing() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let client = house.client();
    let seen = client.stand(&stand("shop")).await.unwrap().summary.revision;
    client
        .act(
            &stand("shop"),
            Action::Stop,
            &daas_api::ActRequest::default(),
            Some(seen),
        )
        .await
        .unwrap();
    let failure = client
        .down(&stand("shop"), &DownQuery::default(), Some(seen))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code(), failure.to_problem().status),
        ("stand-changed", 412)
    );
    let answer = house
        .raw("GET /api/v1/stands/shop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.contains(&format!("etag: \"{}\"", seen + 1)),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_that_is_repeated_with_its_key_is_done_once() {
    let house = House::open().await;
    let client = house.client();
    let first = client
        .up(&request(Some("a"), None), Some("key-1"))
        .await
        .unwrap();
    assert_eq!(
        client
            .up(&request(Some("a"), None), Some("key-1"))
            .await
            .unwrap(),
        first
    );
    assert_eq!(
        client
            .up(&request(Some("b"), None), Some("key-1"))
            .await
            .unwrap_err()
            .code(),
        "key-reused"
    );
    assert_ne!(
        client
            .up(&request(Some("a"), None), Some("key-2"))
            .await
            .unwrap(),
        first
    );
    assert_eq!(house.platform.asked().len(), 2);
}

#[tokio::test]
async fn logs_come_as_values_as_lines_and_byte_by_byte() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let client = house.client();
    let web = LogQuery {
        node: "web".into(),
        ..LogQuery::default()
    };
    let raw: Vec<u8> = client
        .raw_logs(&stand("shop"), &web)
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat();
    assert_eq!(
        raw,
        b"GET / 200\nGET /favicon.ico 404\n\xff\x1b[31mnot text\x1b[0m\n"
    );
    let chunks: Vec<_> = client
        .logs(&stand("shop"), &LogQuery::default())
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!((chunks.len(), chunks[0].node.as_str()), (4, "db"));
    assert_eq!(
        chunks[1..]
            .iter()
            .flat_map(|c| c.bytes.0.clone())
            .collect::<Vec<_>>(),
        raw
    );
    let lines = house.raw("GET /api/v1/stands/shop/logs?node=db HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n").await;
    assert!(lines.contains("{\"node\":\"db\",\"stream\":\"stderr\",\"at_us\":1767225600000000,\"bytes\":\"ready to accept connections\\n\"}\n"), "{lines}");
    let bad = LogQuery {
        node: "web,../x".into(),
        ..LogQuery::default()
    };
    assert_eq!(
        client
            .logs(&stand("shop"), &bad)
            .await
            .err()
            .unwrap()
            .code(),
        "query-invalid"
    );
}

#[tokio::test]
async fn events_go_on_behind_the_last_one_that_was_seen() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let client = house.client();
    let ids = |events: Vec<daas_api::EventView>| {
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let all = client
        .events(None, &EventQuery::default())
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let later = client
        .events(
            Some(&stand("shop")),
            &EventQuery {
                after: Some(1),
                ..EventQuery::default()
            },
        )
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!((ids(all), ids(later)), (vec![1, 2, 3], vec![2, 3]));
    let again = house.raw("GET /api/v1/events?after=0 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2\r\nConnection: close\r\n\r\n").await;
    assert!(
        again.contains("id: 3\ndata: {") && !again.contains("id: 2\n"),
        "{again}"
    );
    let mut following = client
        .events(
            None,
            &EventQuery {
                follow: true,
                ..EventQuery::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(following.next().await.unwrap().unwrap().id, 1);
    assert!(
        house.close().await.is_empty(),
        "a follower does not hold the shutdown up"
    );
    assert_eq!(
        following.skip(2).next().await.map(|item| item.is_ok()),
        None
    );
}

#[tokio::test]
async fn the_registry_answers_every_question() {
    let house = House::open().await;
    let client = house.client();
    let project = ProjectName::parse("shop").unwrap();
    assert_eq!(client.registry().await.unwrap().repositories, 1);
    let repositories = client.repositories().await.unwrap();
    assert_eq!(repositories[0].name, "shop/web");
    assert_eq!(
        client.repository_tags("shop/web").await.unwrap().items[0].tag,
        "1"
    );
    let error = client.repository_tags("nobody/x").await.unwrap_err();
    assert_eq!(error.code(), "registry-repository-not-found");
    let manifest = client.manifest("shop/web", "1").await.unwrap();
    assert_eq!(manifest.tags, ["1"]);
    client
        .delete_manifest("shop/web", &manifest.digest)
        .await
        .unwrap();
    client.delete_repository("shop/web").await.unwrap();
    let request = daas_api::PublishRequest {
        image: image("web:1"),
        name: "shop/web:1".into(),
    };
    client.publish(&request).await.unwrap();
    let dry = PruneRequest {
        dry_run: true,
        ..PruneRequest::default()
    };
    assert_eq!(client.collect_registry(&dry).await.unwrap().blobs.len(), 1);
    let mut rules = client.registry_project(&project).await.unwrap().rules;
    rules.quota = Some(daas_model::ByteSize::gib(2));
    let set = client.set_registry_project(&project, &rules).await.unwrap();
    assert_eq!(set.rules, rules);
    assert_eq!(client.expire(&project, &dry).await.unwrap().items.len(), 1);
    let login = daas_api::LoginRequest {
        name: "ci".into(),
        project: Some(project),
        push: true,
        delete: false,
        expires_in: None,
    };
    assert!(!client.add_login(&login).await.unwrap().secret.is_empty());
    assert_eq!(client.logins().await.unwrap().items[0].name, "ci");
    client.remove_login("ci").await.unwrap();
    let key = daas_api::SshKeyRequest {
        name: "bea".into(),
        key: "ssh-ed25519 AAAA".into(),
        projects: Vec::new(),
        stands: vec!["shop-*".into()],
    };
    assert_eq!(client.add_ssh_key(&key).await.unwrap().name, "bea");
    assert_eq!(client.ssh_keys().await.unwrap().items[0].name, "anna");
    client.remove_ssh_key("anna").await.unwrap();
    assert!(client.remove_ssh_key("nobody").await.is_err());
    assert_eq!(client.ssh().await.unwrap().listens, ["127.0.0.1:2222"]);
}

#[tokio::test]
async fn stats_images_grants_and_the_system_answer() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let client = house.client();
    assert_eq!(client.stats(&stand("shop")).await.unwrap().nodes.len(), 2);
    assert_eq!(
        client
            .follow_stats(&stand("shop"))
            .await
            .unwrap()
            .count()
            .await,
        3
    );
    let nginx = image("registry.example.com:5000/team/nginx:1.27");
    client
        .pull_image(&PullRequest {
            image: nginx.clone(),
            platform: None,
        })
        .await
        .unwrap();
    client
        .make_image(
            &serde_json::from_value::<MakeRequest>(
                serde_json::json!({"base": "debian:bookworm", "packages": ["nginx"]}),
            )
            .unwrap(),
        )
        .await
        .unwrap();
    assert!(client.image(&nginx).await.unwrap().config.is_some());
    client
        .tag_image(&TagRequest {
            image: nginx.clone(),
            name: image("web:1"),
        })
        .await
        .unwrap();
    assert_eq!(client.images().await.unwrap().len(), 3);
    let saved: Vec<_> = client
        .save_image(&nginx)
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat();
    assert_eq!(saved.len(), 8 * 1024);
    let pieces = stream::iter((0..100).map(|_| Ok(bytes::Bytes::from(vec![1; 10_000])))).boxed();
    client.load_image(pieces).await.unwrap();
    client.remove_image(&nginx).await.unwrap();
    assert_eq!(
        client.remove_image(&nginx).await.unwrap_err().code(),
        "image-unknown"
    );
    client
        .prune_images(&PruneRequest {
            dry_run: true,
            all: true,
        })
        .await
        .unwrap();
    let project = ProjectName::parse("shop").unwrap();
    let grants = daas_api::GrantList {
        project: project.clone(),
        grants: BTreeSet::from([Grant::Privileged, Grant::Capability("NET_ADMIN".into())]),
    };
    assert_eq!(client.set_grants(&grants).await.unwrap(), grants);
    assert_eq!(client.grants(&project).await.unwrap(), grants);
    assert!(
        client
            .clear_grants(&project)
            .await
            .unwrap()
            .grants
            .is_empty()
    );
    assert_eq!(client.info().await.unwrap().stands, 1);
    assert_eq!(client.doctor().await.unwrap().checks.len(), 2);
    client.prune(&PruneRequest::default()).await.unwrap();
    assert!(
        house
            .platform
            .asked()
            .iter()
            .any(|line| line.ends_with("load 1000000 bytes"))
    );
}

#[tokio::test]
async fn archives_travel_both_ways() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let client = house.client();
    house.platform.put_archive("/etc/motd", vec![7; 300_000]);
    let got: Vec<_> = client
        .copy_out(&stand("shop"), &node("web"), "/etc/motd")
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat();
    assert_eq!(got, vec![7; 300_000]);
    let archive = stream::iter((0..50u8).map(|n| Ok(bytes::Bytes::from(vec![n; 4000])))).boxed();
    client
        .copy_in(&stand("shop"), &node("web"), "/tmp", archive)
        .await
        .unwrap();
    assert_eq!(house.platform.archive("/tmp").unwrap().len(), 200_000);
    for bad in ["", "etc", "../etc"] {
        assert_eq!(
            client
                .copy_out(&stand("shop"), &node("web"), bad)
                .await
                .err()
                .unwrap()
                .code(),
            "path-not-absolute"
        );
    }
    assert_eq!(
        client
            .copy_out(&stand("shop"), &node("nope"), "/x")
            .await
            .err()
            .unwrap()
            .code(),
        "node-not-found"
    );
}

#[tokio::test]
async fn pages_are_walked_by_their_links() {
    let house = House::open().await;
    for n in 0..7 {
        house.platform.add_stand(&format!("s{n}"));
    }
    let mut path = "/api/v1/stands?limit=3".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = house
            .raw(&format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let page: daas_api::Page<daas_api::StandSummary> = serde_json::from_str(body).unwrap();
        seen.extend(page.items.into_iter().map(|stand| stand.name.to_string()));
        let Some(link) = head.lines().find_map(|line| line.strip_prefix("link: <")) else {
            break;
        };
        let (next, rest) = link.split_once('>').unwrap();
        assert_eq!(rest, "; rel=\"next\"");
        next.clone_into(&mut path);
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
}

#[tokio::test]
async fn the_daemon_describes_itself_and_the_description_has_every_route() {
    let house = House::open().await;
    let document = house.client().openapi().await.unwrap();
    assert_eq!(document, serde_json::to_value(daas_api::openapi()).unwrap());
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(_, item)| {
            item.as_object()
                .unwrap()
                .values()
                .map(|o| o["operationId"].as_str().unwrap().to_owned())
        })
        .collect();
    let known: BTreeSet<String> = ENDPOINTS
        .iter()
        .map(|endpoint| endpoint.id.to_owned())
        .collect();
    let registered: BTreeSet<String> = daas_server::Server::access()
        .iter()
        .map(|(endpoint, _)| endpoint.id.to_owned())
        .collect();
    assert_eq!((&described, &registered), (&known, &known));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_as_a_problem() {
    let house = House::open().await;
    let cases = [
        ("GET /nowhere HTTP/1.1\r\n", "", 404, "path-unknown"),
        ("GET /api/v1/nowhere HTTP/1.1\r\n", "", 404, "path-unknown"),
        ("PUT /api/v1/stands HTTP/1.1\r\n", "", 405, "method-unknown"),
        (
            "GET /api/v1/stands/..%2Fx HTTP/1.1\r\n",
            "",
            400,
            "path-invalid",
        ),
        (
            "GET /api/v1/stands/%FF HTTP/1.1\r\n",
            "",
            400,
            "path-invalid",
        ),
        (
            "GET /api/v1/stands?limit=x HTTP/1.1\r\n",
            "",
            400,
            "query-invalid",
        ),
        (
            "GET /api/v1/stands?unknown=1 HTTP/1.1\r\n",
            "",
            400,
            "query-invalid",
        ),
        (
            "POST /api/v1/stands HTTP/1.1\r\n",
            "{}",
            415,
            "body-not-json",
        ),
        (
            "POST /api/v1/stands HTTP/1.1\r\nContent-Type: application/json\r\n",
            "",
            400,
            "body-invalid",
        ),
        (
            "POST /api/v1/stands HTTP/1.1\r\nContent-Type: application/json\r\n",
            "{",
            400,
            "body-invalid",
        ),
        (
            "POST /api/v1/stands HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\n",
            "{\"project\":{\"dir\":\"/\"},\"nmae\":1}",
            422,
            "body-invalid",
        ),
        (
            "POST /api/v1/stands/x/nodes/y/exec HTTP/1.1\r\nContent-Type: application/json\r\n",
            "{\"command\":[\"ls\"]}",
            426,
            "upgrade-missing",
        ),
        (
            "DELETE /api/v1/stands/x HTTP/1.1\r\nIf-Match: W/\"1\"\r\n",
            "",
            412,
            "stand-changed",
        ),
        (
            "GET /api/v1/stands/x/nodes/y/forward?port=70000 HTTP/1.1\r\n",
            "",
            400,
            "query-invalid",
        ),
    ];
    for (head, body, wanted, code) in cases {
        let answer = house
            .raw(&format!(
                "{head}Host: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let problem = problem(&answer);
        assert_eq!(
            (status(&answer), problem.status, problem.code.as_str()),
            (wanted, wanted, code),
            "{head}"
        );
        assert!(
            answer.contains(&format!("x-request-id: {}", problem.request_id.unwrap())),
            "{head}"
        );
    }
}

/// Names that other platforms fell over (security notes, section 3.4).
const NASTY: [&str; 20] = [
    "",
    "..",
    ".",
    "../../etc/passwd",
    "/",
    "a/b",
    "-rf",
    "--upload-pack=x",
    "$(id)",
    "`id`",
    "a;id",
    "a|id",
    "a\nb",
    "a\0b",
    "a\r\nX-Y: z",
    "\u{202e}abc",
    "é",
    "😀",
    "A",
    "con",
];

#[tokio::test]
async fn nasty_names_in_every_place_are_the_askers_fault_and_reach_nobody() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let mut long: Vec<String> = NASTY.map(str::to_owned).to_vec();
    long.extend(["a".repeat(64), "a".repeat(8000)]);
    for endpoint in ENDPOINTS {
        let parts = endpoint.parts().count();
        for place in 0..parts {
            for name in &long {
                // `con` is a good name of something that is not there.
                let mut all = vec!["shop"; parts];
                all[place] = name;
                let path = endpoint.path_with(&all);
                let answer = house.raw(&format!("{} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", endpoint.method)).await;
                let is_image = endpoint.path.contains("{image}");
                let known = ["con"].contains(&name.as_str())
                    || is_image
                    || (endpoint.path.starts_with("/projects/{project}") && name == "con");
                assert!(
                    (400..500).contains(&status(&answer)) || (known && status(&answer) < 300),
                    "{} {name:?}: {answer}",
                    endpoint.id
                );
            }
        }
    }
    assert!(
        house.platform.asked().iter().all(|line| {
            // Good names of things that are not there: the platform says so.
            [
                "remove image",
                "grants con",
                "registry delete",
                "retention con",
            ]
            .iter()
            .any(|good| line.contains(good))
                || ["remove login con", "remove login A"]
                    .iter()
                    .any(|good| line.ends_with(good))
        }),
        "{:?}",
        house.platform.asked()
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let house = House::open().await;
    let long = UpRequest {
        project: daas_api::ProjectSource {
            contents: [("/x".to_owned(), BytesText(vec![b'a'; 33 << 20]))].into(),
            ..Default::default()
        },
        ..request(None, None)
    };
    let failure = house.client().up(&long, None).await.unwrap_err();
    assert_eq!(failure.code(), "body-too-long", "{failure:?}");
    assert!(house.platform.asked().is_empty());
}

#[tokio::test]
async fn who_sends_all_before_he_reads_hears_why_nobody_wanted_it() {
    let house = House::open().await;
    let much = 16 << 20;
    let request = |path: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {much}\r\n\r\n"
        );
        head + &" ".repeat(much)
    };
    for _ in 0..5 {
        let answer = house.raw_tcp(&request("/api/v1/images/build")).await;
        assert_eq!(status(&answer), 401, "{answer}");
        let answer = house.raw(&request("/api/v1/nothing")).await;
        assert_eq!(status(&answer), 404, "{answer}");
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_told_with_the_way_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let client = daas_client::Client::new(
        daas_client::Address::Unix(folder.path().join("none.sock")),
        None,
    );
    let failure = client.info().await.unwrap_err();
    assert_eq!(failure.code(), "daemon-unreachable");
    assert!(failure.hint_text().unwrap().contains("daas serve"));
    // Names that are used here only to show that a call takes them.
    assert!(
        client
            .exec(&stand("a"), &node("b"), &ExecRequest::default())
            .await
            .is_err()
    );
    assert!(
        client
            .forward(&stand("a"), &node("b"), 1, Protocol::Tcp)
            .await
            .is_err()
    );
}
