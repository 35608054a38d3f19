use crate::house::{Daemon, run};

#[test]
fn check_prints_every_fault_with_its_place() {
    let daemon = Daemon::open();
    let compose = daemon.compose("services:\n  web:\n    imgae: nginx\n    ports: ['70000:80']\n");
    // Without a daemon: what is known here.
    let said = run(&[
        "--socket",
        "/nowhere/x.sock",
        "project",
        "check",
        "-f",
        &compose,
    ]);
    insta::assert_snapshot!(said.all(&daemon), @"
    error[image-missing]: service `web` names no image
      --> compose.yaml:2:3
      hint: add `image`, for example `image: nginx:1.27`
    error[key-unknown]: `imgae` is no key of service `web`
      --> compose.yaml:3:5
      hint: did you mean `image`?
    error[port-out-of-range]: port `70000` does not exist in `ports` of service `web`
      --> compose.yaml:4:13
      hint: a port is 1 to 65535
    --- stderr
    project `shop`: 3 errors
    --- exit 2
    ");
    let json = run(&[
        "--json",
        "--socket",
        "/nowhere/x.sock",
        "project",
        "check",
        "-f",
        &compose,
    ]);
    let checked: daas_api::Checked = serde_json::from_slice(&json.out).unwrap();
    assert!(!checked.valid && json.code == 2);
    let good = daemon.compose("services: {web: {image: nginx}}\n");
    insta::assert_snapshot!(daemon.run(&["project", "check", "-f", &good]).all(&daemon), @"
    --- stderr
    project `shop`: no faults
    --- exit 0
    ");
}

#[test]
fn the_dockerfile_of_a_description_is_data() {
    let daemon = Daemon::open();
    let compose = daemon.compose(
        "services:\n  web:\n    x-daas: {base: 'debian:bookworm', packages: [nginx], expose: 80}\n  db: {image: redis}\n",
    );
    insta::assert_snapshot!(run(&["project", "dockerfile", "web", "-f", &compose]).all(&daemon), @r"
    # Made by DaaS of the description of service `web`: change that and not this.

    FROM debian:bookworm AS packages
    RUN apt-get update \
     && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
          nginx \
     && rm -rf /var/lib/apt/lists/*

    FROM packages
    EXPOSE 80
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(run(&["project", "dockerfile", "wbe", "-f", &compose]).all(&daemon), @"
    --- stderr
    error[described-unknown]: service `wbe` is not described
      hint: did you mean `web`?
    --- exit 2
    ");
    let environment = run(&["project", "dockerfile", "--environment", "-f", &compose]);
    assert!(environment.out().contains("git") && environment.code == 0);
}

#[test]
fn a_project_that_is_not_there_is_a_fault_with_a_hint() {
    let daemon = Daemon::open();
    let folder = daemon.folder.path().join("empty");
    std::fs::create_dir(&folder).unwrap();
    insta::assert_snapshot!(run(&["--socket", "/nowhere/x.sock", "project", "check", "--project-directory", folder.to_str().unwrap()]).all(&daemon), @"
    error[project-missing]: there is no project file in the folder
      --> FOLDER/empty
      caused by: looked for compose.yaml, compose.yml, docker-compose.yaml, docker-compose.yml
      hint: name the file with `-f`, or go to the project's folder
    --- stderr
    project `empty`: 1 error
    --- exit 2
    ");
}

#[test]
fn grants_are_given_shown_and_taken_away() {
    let daemon = Daemon::open();
    insta::assert_snapshot!(daemon.run(&["project", "grant", "shop", "privileged", "capability:NET_ADMIN", "host-path:/srv"]).all(&daemon), @"
    PROJECT  GRANT
    shop     privileged
    shop     capability:NET_ADMIN
    shop     host-path:/srv
    --- stderr
    --- exit 0
    ");
    assert_eq!(
        daemon
            .run(&["project", "revoke", "shop", "privileged"])
            .out()
            .lines()
            .count(),
        3
    );
    assert_eq!(daemon.run(&["project", "revoke", "shop", "--all"]).code, 0);
    insta::assert_snapshot!(daemon.run(&["project", "grants", "shop"]).all(&daemon), @"
    PROJECT  GRANT
    --- stderr
    nothing is granted to project `shop`
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.run(&["project", "grant", "shop", "everything"]).all(&daemon), @"
    --- stderr
    error: invalid value 'everything' for '<GRANT>...': `everything` is no grant: write `privileged`, `unconfined`, `capability:NET_ADMIN`, `host-path:/srv/data`, `device:/dev/ttyUSB0`, `sysctl:name` or `host-namespace:network`

    For more information, try '--help'.
    --- exit 2
    ");
}
