//! Who may do what: every route with every role, and with none.

use crate::house::{House, problem, status};
use daas_api::endpoint::{BASE, Method};
use daas_server::{Access, DoorError, Role, Server, TcpDoor, Tokens, UnixDoor};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn request(method: Method, path: &str, authorization: &str) -> String {
    let path = path
        .replace("{stand}", "shop")
        .replace("{node}", "web")
        .replace("{project}", "shop")
        .replace("{image}", "nginx")
        .replace("{operation}", "op-1");
    format!(
        "{method} {BASE}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}Content-Length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn every_route_admits_exactly_the_roles_that_it_should() {
    let house = House::open().await;
    for (endpoint, access) in Server::access() {
        for role in Role::ALL {
            let authorization = format!("Authorization: bearer {}\r\n", house.token(role));
            let answer = house
                .raw_tcp(&request(endpoint.method, endpoint.path, &authorization))
                .await;
            let refused = answer.contains("\"access-denied\"");
            assert_eq!(
                refused,
                !role.may(access),
                "{} as {role}: {answer}",
                endpoint.id
            );
            assert_eq!(
                refused,
                status(&answer) == 403,
                "{} as {role}: {answer}",
                endpoint.id
            );
        }
    }
    let asked = house.platform.asked();
    assert!(
        !asked.iter().any(|line| line.starts_with("token reader:")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_reaches_nothing() {
    let house = House::open().await;
    let nearly = format!(
        "Authorization: Bearer {}0\r\n",
        &house.token(Role::Administrator)[..70]
    );
    for (endpoint, _) in Server::access() {
        for authorization in [
            "",
            "Authorization: Bearer \r\n",
            "Authorization: Basic cm9vdDpyb290\r\n",
            &nearly,
        ] {
            let answer = house
                .raw_tcp(&request(endpoint.method, endpoint.path, authorization))
                .await;
            assert_eq!(
                (status(&answer), problem(&answer).code.as_str()),
                (401, "token-missing"),
                "{}",
                endpoint.id
            );
            assert!(answer.contains("www-authenticate: Bearer"));
        }
    }
    let nowhere = house
        .raw_tcp("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(
        status(&nowhere),
        401,
        "a stranger is not told what there is"
    );
    assert!(house.platform.asked().is_empty());
}

#[tokio::test]
async fn an_operator_makes_images_of_packages_but_not_of_the_hosts_files() {
    let house = House::open().await;
    let make = async |role: Role, copies: &str| {
        let body = format!("{{\"base\":\"debian:bookworm\",\"copies\":{copies}}}");
        let head = format!(
            "POST /api/v1/images/make HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            house.token(role),
            body.len()
        );
        status(&house.raw_tcp(&(head + &body)).await)
    };
    assert_eq!(make(Role::Operator, "{}").await, 202);
    assert_eq!(make(Role::Operator, "{\"/etc/shadow\":\"/x\"}").await, 403);
    assert_eq!(
        make(Role::Administrator, "{\"/srv/app\":\"/app\"}").await,
        202
    );
}

#[test]
fn what_decides_over_others_takes_an_administrator_and_what_changes_takes_an_operator() {
    for (endpoint, access) in Server::access() {
        let wanted = match (endpoint.id, endpoint.method) {
            (
                "project-grant"
                | "project-revoke"
                | "registry-project-set"
                | "registry-login-add"
                | "registry-login-remove"
                | "dns-record-add"
                | "dns-record-remove"
                | "dns-key-roll"
                | "dns-key-seen"
                | "ban-add"
                | "ban-remove"
                | "ban-allow"
                | "ban-disallow"
                | "ssh-key-add"
                | "ssh-key-remove"
                | "certificate-issue"
                | "certificate-renew"
                | "certificate-revoke"
                | "certificate-forget"
                | "certificate-client-add"
                | "certificate-client-revoke",
                _,
            ) => Access::Administer,
            // They answer a question that is too long for a path.
            ("project-check" | "stand-plan", Method::Post) => Access::Read,
            // They reach into nodes or take whole images along.
            ("stand-copy-out" | "stand-forward" | "image-save", Method::Get) => Access::Operate,
            (_, Method::Get) => Access::Read,
            (_, Method::Post | Method::Put | Method::Delete) => Access::Operate,
        };
        assert_eq!(access, wanted, "{}", endpoint.id);
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_only() {
    let house = House::open().await;
    let meta = std::fs::metadata(&house.socket).unwrap();
    assert_eq!(
        (meta.permissions().mode() & 0o777, meta.uid()),
        (0o660, rustix::process::geteuid().as_raw())
    );
    assert!(house.close().await.is_empty());
    assert!(!house.socket.exists(), "a closed door leaves no socket");
}

#[tokio::test]
async fn root_another_user_is_refused_even_where_the_socket_lets_him_in() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let house = House::open().await;
    // Given away by hand: the socket and the folders above it.
    std::fs::set_permissions(&house.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    for folder in house.socket.ancestors().skip(1).take(2) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = house.socket.display().to_string();
    // perl is in every Debian; the test's own program may lie where that user cannot read.
    let script = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print $s "GET /api/v1/stands HTTP/1.1
Host: x
Connection: close

"; print while <$s>;"#;
    let output = tokio::process::Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "/usr/bin/perl",
            "-e",
            script,
            &socket,
        ])
        .output()
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(
        answer.starts_with("HTTP/1.1 403")
            && answer.contains("caller-unknown")
            && answer.contains("usermod"),
        "{answer} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_door_takes_over_a_dead_socket_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daas.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = UnixDoor::bind(&path).unwrap();
    assert!(matches!(
        UnixDoor::bind(&path),
        Err(DoorError::Taken { .. })
    ));
    drop(first);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(
        UnixDoor::bind(&path),
        Err(DoorError::Foreign { .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    let nobody = TcpDoor::bind(([127, 0, 0, 1], 0).into(), Tokens::default()).await;
    assert!(matches!(nobody, Err(DoorError::NoTokens { .. })));
}
