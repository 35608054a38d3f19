//! What the web server of the cases has: files, a redirect, and a git repository.

use crate::case::Case;
use crate::repository::Repository;
use crate::web::{Reply, Web};

/// Serves for the cases that want it: their argument `WEB` is the address.
pub(crate) fn to(cases: &mut [Case]) -> (Web, Repository) {
    let repository = Repository::new();
    let git = repository.answering();
    let archive = archive();
    let web = Web::serve(move |question| match question.target.as_str() {
        "/plain" | "/plain?x=1" => Reply::file(
            "of the web\n",
            &[("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")],
        ),
        "/way" => Reply::to("/plain"),
        "/archive.tar.gz" => Reply::file(archive.clone(), &[]),
        "/called/" => Reply::file(
            "called\n",
            &[("Content-Disposition", "attachment; filename=\"given\"")],
        ),
        "/?nameless" => Reply::file("nameless\n", &[]),
        _ if question.target.starts_with("/app.git") => git(question),
        _ => Reply::status(404),
    });
    for case in cases.iter_mut().filter(|case| case.web) {
        case.args.push(("WEB".to_owned(), web.url("")));
    }
    (web, repository)
}

fn archive() -> Vec<u8> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(packed);
    let mut header = tar::Header::new_gnu();
    header.set_size(7);
    header.set_mode(0o640);
    archive
        .append_data(&mut header, "in/file", &b"inside\n"[..])
        .unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}
