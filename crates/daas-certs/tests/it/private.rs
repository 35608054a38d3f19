//! The private authority.

use crate::judge::{Hello, curl, run};
use daas_certs::{
    CertName, Certificates, Clock, DrivenClock, GivenFiles, Served, Settings, SystemClock,
};
use daas_store::Store;
use daas_tasks::Supervisor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn name(text: &str) -> CertName {
    CertName::parse(text).unwrap()
}

async fn room(settings: Settings, store: &Store, clock: Arc<dyn Clock>) -> Certificates {
    Certificates::open(settings, store.clone(), clock, Supervisor::new())
        .await
        .unwrap()
}

fn write(dir: &Path, file: &str, text: &str) -> PathBuf {
    let path = dir.join(file);
    std::fs::write(&path, text).unwrap();
    path
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir);
    settings.zones.push(name("dev.example.com"));
    settings
}

#[tokio::test]
async fn curl_opens_every_name_of_the_zones_over_trusted_tls_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = room(
        settings(dir.path()),
        &Store::in_memory().unwrap(),
        Arc::new(SystemClock),
    )
    .await;
    let roots = write(dir.path(), "root.pem", &certificates.root_pem());
    let server = Hello::open(certificates.resolver()).await;
    for host in [
        "shop.localhost",
        "web.shop.localhost",
        "dev.example.com",
        "shop-7.dev.example.com",
        "web.shop-7.dev.example.com",
        "web.shop-7.192-168-1-10.dev.example.com",
        "SHOP-7.dev.example.com",
    ] {
        assert_eq!(
            curl(&server, host, &roots, &[]).await.as_deref(),
            Ok("hello"),
            "{host}"
        );
    }
    assert_eq!(
        curl(
            &server,
            "shop-7.dev.example.com",
            &roots,
            &["--tls-max", "1.2"]
        )
        .await
        .as_deref(),
        Ok("hello")
    );
    for host in [
        "example.com",
        "adev.example.com",
        "dev.example.com.evil.net",
    ] {
        assert!(curl(&server, host, &roots, &[]).await.is_err(), "{host}");
    }
    // Without a name there is the machine's own certificate.
    let url = format!("https://127.0.0.1:{}/", server.address.port());
    let output = run("curl", &["-sS", "--cacert", roots.to_str().unwrap(), &url]).await;
    assert_eq!(output.stdout, b"hello", "{output:?}");
}

#[tokio::test]
async fn openssl_finds_nothing_wrong_and_the_root_is_for_our_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = room(
        settings(dir.path()),
        &Store::in_memory().unwrap(),
        Arc::new(SystemClock),
    )
    .await;
    let roots = write(dir.path(), "root.pem", &certificates.root_pem());
    let made = certificates
        .add_client("laptop", Duration::from_secs(3600))
        .await
        .unwrap();
    let leaf = write(dir.path(), "leaf.pem", &made.certificate);
    let verify = |purpose: &'static str, leaf: PathBuf| {
        let roots = roots.clone();
        async move {
            let arguments = [
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-CAfile",
                roots.to_str().unwrap(),
                leaf.to_str().unwrap(),
            ];
            run("openssl", &arguments).await
        }
    };
    let output = verify("sslclient", leaf.clone()).await;
    assert!(output.status.success(), "{output:?}");
    assert!(!verify("sslserver", leaf).await.status.success());

    let text = run(
        "openssl",
        &["x509", "-in", roots.to_str().unwrap(), "-noout", "-text"],
    )
    .await;
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "X509v3 Name Constraints: critical",
        "DNS:localhost",
        "DNS:dev.example.com",
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "ASN1 OID: prime256v1",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }

    // A leaf that somebody with the stolen key signs for a bank is not believed.
    let stolen = steal_and_sign(dir.path(), "bank.example.net").await;
    let output = verify("sslserver", stolen).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("permitted subtree violation"),
        "{words}"
    );
}

/// Makes an authority with the constraints of ours, and a leaf of it for `host`.
async fn steal_and_sign(dir: &Path, host: &str) -> PathBuf {
    use rcgen::{CertificateParams, Issuer, KeyPair};
    // The key of the real root is sealed; a root of the same shape stands for it, and takes the place of the trusted one.
    let text = std::fs::read_to_string(dir.join("root.pem")).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: constraints_of(&text),
        excluded_subtrees: Vec::new(),
    });
    let root = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("root.pem"), root.pem()).unwrap();
    let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, "leaf");
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate().unwrap();
    let signed = leaf
        .signed_by(&leaf_key, &Issuer::new(params, key))
        .unwrap();
    let path = dir.join("stolen.pem");
    std::fs::write(&path, signed.pem()).unwrap();
    path
}

/// Reads the DNS names that a root may sign for.
fn constraints_of(root: &str) -> Vec<rcgen::GeneralSubtree> {
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    let (_, pem) = x509_parser::pem::parse_x509_pem(root.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::NameConstraints(constraints) = extension.parsed_extension() {
            for tree in constraints.permitted_subtrees.iter().flatten() {
                if let GeneralName::DNSName(name) = tree.base {
                    names.push(rcgen::GeneralSubtree::DnsName(name.to_owned()));
                }
            }
        }
    }
    assert!(names.len() > 3);
    names
}

#[tokio::test]
async fn the_root_stays_over_restarts_and_a_new_zone_has_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::in_memory().unwrap();
    let first = room(settings(dir.path()), &store, Arc::new(SystemClock))
        .await
        .root_pem();
    let again = room(settings(dir.path()), &store, Arc::new(SystemClock)).await;
    assert_eq!(again.root_pem(), first);
    let mut wider = settings(dir.path());
    wider.zones.push(name("qa.example.org"));
    let wide = room(wider, &store, Arc::new(SystemClock)).await;
    assert!(wide.root_pem().contains(&first) && wide.roots().len() == 2);
    let roots = write(dir.path(), "root.pem", &wide.root_pem());
    let server = Hello::open(wide.resolver()).await;
    for host in [
        "shop.qa.example.org",
        "shop.dev.example.com",
        "shop.localhost",
    ] {
        assert_eq!(
            curl(&server, host, &roots, &[]).await.as_deref(),
            Ok("hello"),
            "{host}"
        );
    }
}

#[tokio::test]
async fn certificates_are_made_anew_before_they_end_and_roots_a_year_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::in_memory().unwrap();
    let clock = Arc::new(DrivenClock::default());
    let certificates = room(settings(dir.path()), &store, clock.clone()).await;
    let resolver = certificates.resolver();
    let serial = |name: &str| {
        let key = resolver.find(name).unwrap();
        daas_certs::Facts::of(&key.cert[0]).unwrap()
    };
    let first = serial("shop.localhost");
    assert_eq!(serial("web.shop.localhost"), first);
    let begin = SystemClock.now_ms() - first.not_before_ms;
    assert!(begin >= 3_590_000, "it begins an hour ago");
    clock.drive(19 * 24 * 3600 * 1000);
    assert_eq!(serial("shop.localhost"), first);
    clock.drive(2 * 24 * 3600 * 1000);
    let second = serial("shop.localhost");
    assert_ne!(second.serial, first.serial);
    assert!(second.not_after_ms > clock.now_ms() + 29 * 24 * 3600 * 1000);

    clock.drive(9 * 365 * 24 * 3600 * 1000);
    let later = room(settings(dir.path()), &store, clock.clone()).await;
    assert_eq!(later.roots().len(), 2);
    clock.drive(400 * 24 * 3600 * 1000);
    let latest = room(settings(dir.path()), &store, clock).await;
    assert_eq!(latest.roots().len(), 1);
}

#[derive(Debug)]
struct Only(&'static str);

impl Served for Only {
    fn serves(&self, name: &str) -> bool {
        name == self.0
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_has_no_certificate_and_the_cache_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = room(
        settings(dir.path()),
        &Store::in_memory().unwrap(),
        Arc::new(SystemClock),
    )
    .await;
    let resolver = certificates.resolver();
    for n in 0..1100 {
        assert!(resolver.find(&format!("s{n}.localhost")).is_some());
    }
    assert!(resolver.made() <= 1024, "{}", resolver.made());
    certificates.set_served(Arc::new(Only("shop.localhost")));
    assert!(resolver.find("shop.localhost").is_some());
    // Who comes to a name at which nothing answers is told so over TLS; a flood of such names costs little.
    let stranger = resolver.find("gone.localhost").unwrap();
    assert!(Arc::ptr_eq(
        &stranger,
        &resolver.find("gone.localhost").unwrap()
    ));
    let flood = (0..500).filter(|n| resolver.find(&format!("f{n}.localhost")).is_some());
    assert!(flood.count() <= 60);
    assert!(resolver.find("gone.example.com").is_none());
    assert!(!resolver.is_of_the_world("shop.localhost"));
}

#[tokio::test]
async fn given_files_are_served_and_read_again_when_they_change_and_a_half_written_pair_keeps_the_old_one()
 {
    let dir = tempfile::tempdir().unwrap();
    let pair = |names: &[&str]| {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = pair(&["*.shop.example.net", "shop.example.net"]);
    let files = GivenFiles {
        certificate: write(dir.path(), "shop.pem", &certificate),
        key: write(dir.path(), "shop.key", &key),
    };
    let mut settings = settings(dir.path());
    settings.files.push(files.clone());
    settings.files.push(GivenFiles {
        certificate: dir.path().join("none.pem"),
        key: dir.path().join("none.key"),
    });
    let certificates = room(
        settings,
        &Store::in_memory().unwrap(),
        Arc::new(SystemClock),
    )
    .await;
    let resolver = certificates.resolver();
    let first = resolver.find("www.shop.example.net").unwrap();
    assert!(resolver.find("a.b.shop.example.net").is_none());
    let list = certificates.list().unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    let missing = list.iter().find(|one| one.fault.is_some()).unwrap();
    assert_eq!(missing.fault.as_ref().unwrap().code, "certificate-file");

    let (certificate, key) = pair(&["shop.example.net", "*.shop.example.net"]);
    std::fs::write(&files.certificate, &certificate).unwrap();
    certificates.tick().await.unwrap();
    assert_eq!(
        resolver.find("www.shop.example.net").unwrap().cert,
        first.cert
    );
    let half = certificates.show("given:*.shop.example.net").unwrap();
    assert_eq!(half.fault.unwrap().code, "certificate-key-mismatch");
    std::fs::write(&files.key, &key).unwrap();
    certificates.tick().await.unwrap();
    assert_ne!(
        resolver.find("www.shop.example.net").unwrap().cert,
        first.cert
    );
    assert_eq!(
        certificates.show("given:shop.example.net").unwrap().fault,
        None
    );
}

#[tokio::test]
async fn clients_are_known_one_by_one_and_a_revoked_one_is_out_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = room(
        settings(dir.path()),
        &Store::in_memory().unwrap(),
        Arc::new(SystemClock),
    )
    .await;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_client_cert_verifier(certificates.client_verifier())
    .with_cert_resolver(certificates.resolver());
    let server = Hello::with(config).await;
    let roots = write(dir.path(), "root.pem", &certificates.root_pem());
    let made = certificates
        .add_client("laptop-anna", Duration::from_secs(3600))
        .await
        .unwrap();
    let pem = write(
        dir.path(),
        "client.pem",
        &format!("{}{}", made.certificate, made.key.as_str()),
    );
    let with = ["--cert", pem.to_str().unwrap()];
    assert_eq!(
        curl(&server, "api.localhost", &roots, &with)
            .await
            .as_deref(),
        Ok("hello")
    );
    assert!(curl(&server, "api.localhost", &roots, &[]).await.is_err());
    certificates.revoke_client("laptop-anna").await.unwrap();
    assert!(curl(&server, "api.localhost", &roots, &with).await.is_err());
    assert!(certificates.clients().unwrap()[0].revoked_ms.is_some());
    for bad in ["", "a.b", "Anna", "../x", "-a", &"a".repeat(64)] {
        assert!(
            certificates
                .add_client(bad, Duration::from_secs(60))
                .await
                .is_err(),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn no_key_lies_open_in_the_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let certificates = room(settings(dir.path()), &store, Arc::new(SystemClock)).await;
    let made = certificates
        .add_client("laptop", Duration::from_secs(60))
        .await
        .unwrap();
    certificates.resolver().find("shop.localhost").unwrap();
    drop((certificates, store));
    let line = made.key.lines().nth(1).unwrap().to_owned();
    let mut seen = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains(&line),
            "{:?}",
            entry.path()
        );
        use std::os::unix::fs::MetadataExt;
        assert_eq!(
            entry.metadata().unwrap().mode() & 0o077,
            0,
            "{:?}",
            entry.path()
        );
        seen += 1;
    }
    assert!(seen > 1);
}
