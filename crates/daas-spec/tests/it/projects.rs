//! Real multi-service projects, as people write them, and what becomes of them.

use crate::support::{files, request, short, spec, told};
use daas_spec::{ProjectRequest, read_project};

/// Reads the project of `projects/<name>`, all of its files, and returns what is told and what is made.
fn golden(name: &str, list: &[(&str, &str)], profiles: &[&str]) -> String {
    let request = ProjectRequest {
        dir: format!("/srv/{name}"),
        profiles: profiles.iter().map(|p| (*p).to_owned()).collect(),
        ..request()
    };
    let placed: Vec<(String, &str)> = list
        .iter()
        .map(|(file, text)| (format!("/srv/{name}/{file}"), *text))
        .collect();
    let placed: Vec<(&str, &str)> = placed
        .iter()
        .map(|(file, text)| (file.as_str(), *text))
        .collect();
    let outcome = read_project(&files(&placed), &request);
    let stand = serde_json::to_string_pretty(&short(spec(&outcome))).unwrap();
    format!("{}\n\n{stand}\n", told(&outcome))
}

macro_rules! projects {
    ($($test:ident: $name:literal [$($file:literal),*] $profiles:expr;)*) => {$(
        #[test]
        fn $test() {
            let list = [$(($file, include_str!(concat!("projects/", $name, "/", $file)))),*];
            insta::assert_snapshot!($name, golden($name, &list, &$profiles));
        }
    )*};
}

projects! {
    a_shop_of_web_api_worker_database_and_cache: "shop" ["compose.yaml", ".env"] [];
    a_blog_of_wordpress_and_mariadb: "blog" ["docker-compose.yml"] [];
    a_monitoring_of_prometheus_and_exporters: "monitoring" ["compose.yaml", "prometheus.yml"] ["exporters"];
    a_queue_of_rabbitmq_with_scaled_workers: "queue" ["compose.yml", "compose.override.yml"] [];
    a_django_with_migration_and_static_files: "django" ["compose.yaml", "web.env", "common.yaml"] [];
    a_lab_with_fixed_addresses: "lab" ["docker-compose.yaml"] [];
    a_microservice_mesh_by_include: "mesh" ["compose.yaml", "users/compose.yaml", "users/.env", "orders/compose.yaml"] ["debug"];
    a_gitea_with_postgres_and_ssh: "gitea" ["docker-compose.yml"] [];
    a_nextcloud_with_cron_and_secrets: "nextcloud" ["compose.yaml", "secrets/db_password.txt"] [];
    a_test_bed_with_hooks_and_one_shots: "testbed" ["compose.yaml"] [];
}
