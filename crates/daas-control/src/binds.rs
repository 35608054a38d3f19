//! Which folders of the host a stand may be given, besides what its text says.
//!
//! The reader of projects judges paths by their letters. Here they are judged as they lie on the disk: a link inside of a project's folder
//! must not lead out of it, and a caller must not name a folder that is not his (threat S1, and the reader's notes).

use daas_api::{Caller, Failure};
use daas_model::{Grant, HostOwner, Kind, MountSource, Policy, StandSpec};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Judges every bind of `spec`, makes folders that are missing and may be made, and puts the true paths in, and whose they are.
///
/// The keeper opens a true path without following any link, so a link that is put in later leads nowhere.
///
/// # Errors
/// A [`Failure`] for the first path that the caller may not give.
pub(crate) fn settle(
    spec: &mut StandSpec,
    dir: &str,
    caller: &Caller,
    policy: &Policy,
) -> Result<(), Failure> {
    let mut owner = None;
    for node in spec.nodes.values_mut() {
        for mount in &mut node.mounts {
            let MountSource::Bind {
                path,
                create,
                owner: host,
            } = &mut mount.source
            else {
                continue;
            };
            let (root, owner) = match &owner {
                Some(known) => known,
                None => owner.insert(project_folder(dir, caller)?),
            };
            let real = settle_one(Path::new(path.as_str()), root, *owner, *create, policy)?;
            let whose = if real.starts_with(root) {
                *owner
            } else {
                owner_of(&real)?
            };
            // Root's folders keep the host's owners: who may give them away is root already.
            *host = (whose.uid != 0).then_some(whose);
            *path = real
                .to_str()
                .ok_or_else(|| refused(&real, "its name is no text"))?
                .to_owned();
        }
    }
    Ok(())
}

/// Returns the project's true folder and whose it is, if the caller may give it away.
pub(crate) fn project_folder(dir: &str, caller: &Caller) -> Result<(PathBuf, HostOwner), Failure> {
    let path = Path::new(dir);
    let real = path.canonicalize().map_err(|e| {
        refused(
            path,
            &format!("the project's folder cannot be read on the daemon's host: {e}"),
        )
    })?;
    let owner = owner_of(&real)?;
    let uid = owner.uid;
    match caller {
        Caller::Process { uid: 0, .. } => Ok((real, owner)),
        Caller::Process { uid: own, .. } if *own == uid => Ok((real, owner)),
        Caller::Process { uid: own, .. } => Err(refused(
            &real,
            &format!("it belongs to uid {uid} and uid {own} asks"),
        )),
        Caller::Token { .. } | Caller::Certificate { .. } => Err(refused(
            &real,
            "who comes over the network has no folders here",
        )
        .hint("put the files into an image, a config or a volume")),
    }
}

fn owner_of(path: &Path) -> Result<HostOwner, Failure> {
    let meta = std::fs::metadata(path).map_err(|e| refused(path, &e.to_string()))?;
    Ok(HostOwner {
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

fn settle_one(
    path: &Path,
    root: &Path,
    owner: HostOwner,
    create: bool,
    policy: &Policy,
) -> Result<PathBuf, Failure> {
    let granted = policy.allows(&Grant::HostPath(path.to_string_lossy().into_owned()));
    if !path.exists() && create {
        make(path, root, owner, granted)?;
    }
    let real = path.canonicalize().map_err(|e| {
        Failure::new(
            "bind-missing",
            Kind::Input,
            format!("cannot bind `{}`", path.display()),
        )
        .because(e.to_string())
        .hint("make it, or write the bind in the short form, which makes a missing folder")
    })?;
    let inside = real.starts_with(root)
        || policy.allows(&Grant::HostPath(real.to_string_lossy().into_owned()));
    if inside {
        Ok(real)
    } else {
        Err(refused(
            &real,
            &format!(
                "a link leads there, out of the project's folder {}",
                root.display()
            ),
        ))
    }
}

/// Makes the folder, owned by the project's owner, below the deepest folder that is there.
fn make(path: &Path, root: &Path, owner: HostOwner, granted: bool) -> Result<(), Failure> {
    let fault = |e: std::io::Error| {
        Failure::new(
            "bind-make",
            Kind::Outside,
            format!("cannot make `{}`", path.display()),
        )
        .because(e.to_string())
    };
    let above = path
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    let real = above.canonicalize().map_err(fault)?;
    if !granted && !real.starts_with(root) {
        return Err(refused(
            &real,
            "a link leads there, out of the project's folder",
        ));
    }
    let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
    let mut made = real;
    for part in rest {
        made.push(part);
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&made)
            .map_err(fault)?;
        std::os::unix::fs::lchown(&made, Some(owner.uid), Some(owner.gid)).map_err(fault)?;
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(
        "bind-refused",
        Kind::Forbidden,
        format!("cannot give `{}` to a node", path.display()),
    )
    .because(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_model::{ImageName, Mount, NodeName, NodeSpec, ProjectName, ServiceName};
    use std::collections::BTreeMap;

    fn spec(path: &Path, create: bool) -> StandSpec {
        let mut node = NodeSpec::new(
            ServiceName::parse("a").unwrap(),
            ImageName::parse("i").unwrap(),
        );
        node.mounts = vec![Mount {
            source: MountSource::Bind {
                path: path.to_str().unwrap().into(),
                create,
                owner: None,
            },
            target: "/x".into(),
            read_only: false,
        }];
        StandSpec {
            project: ProjectName::parse("p").unwrap(),
            kind: daas_model::StandKind::Test,
            nodes: [(NodeName::parse("a").unwrap(), node)].into(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
            limits: daas_model::Limits::default(),
            egress: daas_model::Egress::None,
            ttl: None,
            routes: Vec::new(),
            sleep_after: None,
        }
    }

    fn judge(path: &Path, dir: &Path, caller: &Caller, policy: &Policy) -> Result<String, String> {
        let mut spec = spec(path, true);
        settle(&mut spec, dir.to_str().unwrap(), caller, policy)
            .map_err(|f| f.code().to_owned())?;
        let MountSource::Bind { path, .. } = &spec.nodes["a"].mounts[0].source else {
            unreachable!()
        };
        Ok(path.clone())
    }

    #[test]
    fn a_link_out_of_the_project_is_refused_and_one_inside_is_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        let uid = std::fs::metadata(&root).unwrap().uid();
        let me = Caller::Process { uid, pid: 1 };
        let none = Policy::default();
        assert_eq!(
            judge(&root.join("in"), &root, &me, &none).unwrap(),
            root.join("real").to_str().unwrap()
        );
        assert_eq!(
            judge(&root.join("out"), &root, &me, &none).unwrap_err(),
            "bind-refused"
        );
        assert_eq!(
            judge(&root.join("out/new"), &root, &me, &none).unwrap_err(),
            "bind-refused"
        );
        assert!(!Path::new("/etc/new").exists());
        assert_eq!(
            judge(&root.join("made/deep"), &root, &me, &none).unwrap(),
            root.join("made/deep").to_str().unwrap()
        );
        let granted = Policy {
            grants: [Grant::HostPath("/etc".into())].into(),
        };
        assert_eq!(
            judge(&root.join("out"), &root, &me, &granted).unwrap(),
            "/etc"
        );
    }

    #[test]
    fn root_a_bind_says_whose_folder_it_is_unless_it_is_roots() {
        let owner_in = |path: &Path, dir: &Path, policy: &Policy| {
            let mut spec = spec(path, true);
            let root = Caller::Process { uid: 0, pid: 1 };
            settle(&mut spec, dir.to_str().unwrap(), &root, policy).unwrap();
            let MountSource::Bind { owner, .. } = &spec.nodes["a"].mounts[0].source else {
                unreachable!()
            };
            *owner
        };
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = dir.path().canonicalize().unwrap();
        let none = Policy::default();
        assert_eq!(owner_in(&root.join("x"), &root, &none), None);
        std::os::unix::fs::chown(&root, Some(1234), Some(56)).unwrap();
        let person = HostOwner { uid: 1234, gid: 56 };
        // Root left a folder in somebody's project: that makes nobody root.
        assert_eq!(owner_in(&root.join("x"), &root, &none), Some(person));
        assert_eq!(owner_in(&root.join("y"), &root, &none), Some(person));
        let made = std::fs::metadata(root.join("y")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1234, 56));
        // What is granted outside of the project belongs to whom it belongs.
        let granted = Policy {
            grants: [Grant::HostPath(other.path().to_str().unwrap().into())].into(),
        };
        assert_eq!(owner_in(other.path(), &root, &granted), None);
        std::os::unix::fs::chown(other.path(), Some(78), Some(90)).unwrap();
        let third = HostOwner { uid: 78, gid: 90 };
        assert_eq!(owner_in(other.path(), &root, &granted), Some(third));
    }

    #[test]
    fn nobody_gives_a_folder_that_is_not_his() {
        let dir = tempfile::tempdir().unwrap();
        let uid = std::fs::metadata(dir.path()).unwrap().uid();
        let none = Policy::default();
        let other = Caller::Process {
            uid: uid + 1,
            pid: 1,
        };
        let remote = Caller::Token { name: "ci".into() };
        assert_eq!(
            judge(&dir.path().join("x"), dir.path(), &other, &none).unwrap_err(),
            "bind-refused"
        );
        assert_eq!(
            judge(&dir.path().join("x"), dir.path(), &remote, &none).unwrap_err(),
            "bind-refused"
        );
    }
}
