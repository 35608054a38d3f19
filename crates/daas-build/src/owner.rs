//! `--chown`, by the tables of the image that is being made.

use daas_image::{Image, ImageError};

/// Turns `user`, `user:group` or `:group` into numbers. A number without a group is its own group; a name's group is that of its line.
///
/// # Errors
/// [`ImageError::NoUser`] and [`ImageError::BadUser`].
pub(crate) fn owner(image: &Image, spec: &str) -> Result<(u32, u32), ImageError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let none: [&str; 0] = [];
    let found = image.lookup_user(user, &none)?;
    let gid = match group {
        Some(group) => image.lookup_user(&format!("0:{group}"), &none)?.gid,
        // docs.docker.com, Dockerfile reference, "COPY --chown".
        None if !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit()) => found.uid,
        None => found.gid,
    };
    Ok((found.uid, gid))
}
