//! `daas image <verb>`.

use crate::completions;
use crate::human;
use crate::progress;
use crate::stop::{Stop, unwritten};
use crate::system::PruneArgs;
use crate::table::Table;
use crate::talk::Talk;
use bytes::Bytes;
use clap::{Args, Subcommand};
use daas_api::platform::ByteFlow;
use daas_api::{
    Accepted, Failure, ImageView, MakeRequest, Pruned, PullRequest, RefreshRequest, TagRequest,
};
use daas_model::{ImageName, Kind};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A document about an image.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Document {
    /// Where it comes from (in-toto, SLSA 1.0).
    Provenance,
    /// What is in it (SPDX 2.3).
    Sbom,
}

impl Document {
    fn kind(self) -> &'static str {
        match self {
            Self::Provenance => "application/vnd.in-toto+json",
            Self::Sbom => "application/spdx+json",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Lists the images.
    #[command(visible_alias = "ls")]
    List,
    /// Shows an image with its configuration.
    #[command(visible_alias = "inspect")]
    Show {
        /// The image.
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        image: ImageName,
    },
    /// Shows what is known about an image: where it comes from, and what is in it.
    Documents {
        /// The image.
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        image: ImageName,
        /// Prints this document instead of the list.
        #[arg(long, value_enum, value_name = "WHICH")]
        print: Option<Document>,
    },
    /// Builds an image from a Dockerfile.
    Build(Box<crate::image_build::Build>),
    /// Fetches images from their registries.
    Pull {
        /// The images.
        #[arg(value_name = "IMAGE", required = true, value_parser = image_name)]
        images: Vec<ImageName>,
        /// Another platform than this one, `linux/arm64`.
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
    },
    /// Reads images from an OCI layout or `docker save` archive.
    Load {
        /// The archive; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Writes an image to an archive that `docker load` reads, too.
    Save {
        /// The image.
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        image: ImageName,
        /// The archive; `-` is standard output.
        #[arg(short, long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Makes a base image from a distribution's packages, without any registry.
    Make(Make),
    /// Makes images of packages anew from the newest packages, and tells what changed.
    Refresh {
        /// The images [default: all that were made here].
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        images: Vec<ImageName>,
        /// Running stands go on with what is new: described services are built on it, and nodes are made anew.
        #[arg(long)]
        in_use: bool,
    },
    /// Gives an image one more name.
    Tag {
        /// The image.
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        image: ImageName,
        /// The new name.
        #[arg(value_name = "NAME", value_parser = image_name)]
        name: ImageName,
    },
    /// Takes names away; an image goes with its last one.
    #[command(visible_alias = "rm")]
    Remove {
        /// The images.
        #[arg(value_name = "IMAGE", required = true, value_parser = image_name, add = completions::images())]
        images: Vec<ImageName>,
    },
    /// Throws away images that nothing needs.
    Prune(PruneArgs),
}

/// What the image is made of.
#[derive(Debug, Args)]
pub(crate) struct Make {
    /// Distribution and suite, `debian:bookworm`.
    #[arg(value_name = "BASE")]
    base: String,
    /// The image's name [default: the base].
    #[arg(long, value_name = "IMAGE", value_parser = image_name)]
    name: Option<ImageName>,
    /// Packages over the smallest system, separated by commas.
    #[arg(long, value_name = "PACKAGES", value_delimiter = ',')]
    packages: Vec<String>,
    /// Where the packages are [default: the host's own sources].
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// A file or folder of the daemon's host and where it goes, `./app:/srv/app`; onto a name that ends with `/`, into it.
    #[arg(long = "copy", value_name = "HOST:IMAGE", value_parser = pair(':'))]
    copies: Vec<(String, String)>,
    /// A variable of the image, `NAME=value`.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = pair('='))]
    env: Vec<(String, String)>,
    /// A label of the image, `name=value`.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair('='))]
    labels: Vec<(String, String)>,
    /// The user of its processes, `user` or `user:group`.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The folder of its processes.
    #[arg(long, value_name = "FOLDER")]
    workdir: Option<String>,
    /// A port that it serves, `80` or `53/udp`.
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// One word of its entry point; say it again for the next word.
    #[arg(long = "entrypoint", value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// One word of its command; say it again for the next word.
    #[arg(
        long = "cmd",
        value_name = "WORD",
        allow_hyphen_values = true,
        conflicts_with = "command"
    )]
    cmd: Vec<String>,
    /// Its command.
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

fn image_name(text: &str) -> Result<ImageName, String> {
    ImageName::parse(text).map_err(|error| error.to_string())
}

async fn refresh(request: RefreshRequest, talk: &Talk) -> Result<(), Stop> {
    let accepted = talk.client.refresh_images(&request).await?;
    let operation = crate::image_build::watch(&accepted, true, talk).await?;
    if talk.json {
        talk.json(&operation)?;
    }
    progress::verdict(&[operation])
}

/// Reads two words with a sign between them.
fn pair(
    sign: char,
) -> impl Fn(&str) -> Result<(String, String), String> + Clone + Send + Sync + 'static {
    move |text| {
        let (one, other) = text
            .split_once(sign)
            .ok_or_else(|| format!("`{}` holds no `{sign}`", text.escape_debug()))?;
        Ok((one.to_owned(), other.to_owned()))
    }
}

pub(crate) async fn run(verb: ImageVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        ImageVerb::List => list(talk).await,
        ImageVerb::Show { image } => show(&image, talk).await,
        ImageVerb::Documents { image, print } => documents(&image, print, talk).await,
        ImageVerb::Refresh { images, in_use } => {
            refresh(RefreshRequest { images, in_use }, talk).await
        }
        ImageVerb::Build(build) => crate::image_build::run(*build, talk).await,
        ImageVerb::Pull { images, platform } => pull(images, platform, talk).await,
        ImageVerb::Load { file } => load(&file, talk).await,
        ImageVerb::Save { image, output } => save(&image, &output, talk).await,
        ImageVerb::Make(make) => {
            let accepted = talk.client.make_image(&request(make)?).await?;
            wait_and_tell(&accepted, talk).await
        }
        ImageVerb::Tag { image, name } => {
            let view = talk.client.tag_image(&TagRequest { image, name }).await?;
            if talk.json {
                talk.json(&view)
            } else {
                talk.data(format!("{}\n", view.digest))
            }
        }
        ImageVerb::Remove { images } => remove(&images, talk).await,
        ImageVerb::Prune(prune) => {
            let request = prune.request();
            tell_pruned(
                &talk.client.prune_images(&request).await?,
                request.dry_run,
                talk,
            )
        }
    }
}

fn request(make: Make) -> Result<MakeRequest, Stop> {
    let here = std::env::current_dir().map_err(Stop::io("find", "the folder"))?;
    let mut copies = std::collections::BTreeMap::new();
    for (host, image) in make.copies {
        // The daemon has another folder: it is told the whole path.
        let host = here.join(host).into_os_string().into_string();
        let host = host.map_err(|path| {
            Stop::input(
                "path-not-text",
                format!(
                    "cannot use the path `{}`: it is no UTF-8 text",
                    path.display()
                ),
            )
        })?;
        copies.insert(host, image);
    }
    Ok(MakeRequest {
        base: make.base,
        name: make.name,
        packages: make.packages,
        mirror: make.mirror,
        copies,
        entrypoint: make.entrypoint,
        command: if make.cmd.is_empty() {
            make.command
        } else {
            make.cmd
        },
        environment: make.env.into_iter().collect(),
        user: make.user,
        working_dir: make.workdir,
        expose: make.expose,
        labels: make.labels.into_iter().collect(),
    })
}

async fn list(talk: &Talk) -> Result<(), Stop> {
    let images = talk.client.images().await?;
    let now_ms = talk.terminal.now_ms();
    talk.show(&images, || {
        let mut table = Table::new(&["IMAGE", "DIGEST", "SIZE", "LAYERS", "AGE", "USED BY"]);
        for image in &images {
            let nameless = vec![String::from("-")];
            let names: Vec<String> = if image.names.is_empty() {
                nameless
            } else {
                image.names.iter().map(ImageName::familiar).collect()
            };
            for name in names {
                let used: Vec<&str> = image
                    .used_by
                    .iter()
                    .map(daas_model::StandName::as_str)
                    .collect();
                table.row([
                    name,
                    short(&image.digest),
                    human::size(image.size_bytes),
                    image.layers.to_string(),
                    image
                        .created_ms
                        .map(|created| human::age(created, now_ms))
                        .unwrap_or_default(),
                    used.join(" "),
                ]);
            }
        }
        table
    })?;
    if images.is_empty() && !talk.json {
        talk.say("there is no image; `daas image pull` fetches one, `daas image make` makes one, and `daas stand up` fetches what it needs");
    }
    Ok(())
}

/// Returns as much of a digest as tells images apart.
fn short(digest: &str) -> String {
    digest
        .rsplit(':')
        .next()
        .unwrap_or(digest)
        .chars()
        .take(12)
        .collect()
}

async fn show(image: &ImageName, talk: &Talk) -> Result<(), Stop> {
    let view = talk.client.image(image).await?;
    if talk.json {
        return talk.json(&view);
    }
    talk.data(text(&view, talk))
}

async fn documents(image: &ImageName, print: Option<Document>, talk: &Talk) -> Result<(), Stop> {
    let mut all = talk.client.image_documents(image).await?;
    if let Some(which) = print {
        all.items.retain(|document| document.kind == which.kind());
        let Some(document) = all.items.first() else {
            return Err(Failure::new(
                "image-document",
                Kind::NotFound,
                format!("`{}` has no such document", image.familiar()),
            )
            .hint("images that were built here have both, others what came with them")
            .into());
        };
        return talk.json(&document.content);
    }
    talk.show(&all, || {
        let mut table = Table::new(&["KIND", "SIZE", "DIGEST"]);
        for document in &all.items {
            table.row([
                document.kind.clone(),
                human::size(document.size_bytes),
                document.digest.clone(),
            ]);
        }
        table
    })?;
    if all.items.is_empty() && !talk.json {
        talk.say(format!(
            "`{}` has no documents; images that are built here have them, others what came with them",
            image.familiar()
        ));
    }
    Ok(())
}

fn text(view: &ImageView, talk: &Talk) -> String {
    let names: Vec<String> = view.names.iter().map(ImageName::familiar).collect();
    let used: Vec<&str> = view
        .used_by
        .iter()
        .map(daas_model::StandName::as_str)
        .collect();
    let mut facts = vec![
        ("names", names.join(" ")),
        ("digest", view.digest.clone()),
        ("platform", view.platform.clone()),
        ("size", human::size(view.size_bytes)),
        ("layers", view.layers.to_string()),
        ("used by", used.join(" ")),
    ];
    if let Some(created) = view.created_ms {
        facts.push(("made", human::moment(created * 1000)));
    }
    let mut text: String = facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            format!(
                "{} {}\n",
                talk.paint.dim(&format!("{name:8}")),
                daas_model::visible(&value)
            )
        })
        .collect();
    if let Some(config) = &view.config {
        // JSON escapes control characters by itself.
        text.push_str(&serde_json::to_string_pretty(config).unwrap_or_default());
        text.push('\n');
    }
    text
}

async fn pull(images: Vec<ImageName>, platform: Option<String>, talk: &Talk) -> Result<(), Stop> {
    let mut all = Accepted {
        operations: Vec::new(),
        diagnostics: Vec::new(),
    };
    for image in images {
        let accepted = talk
            .client
            .pull_image(&PullRequest {
                image,
                platform: platform.clone(),
            })
            .await?;
        all.operations.extend(accepted.operations);
    }
    wait_and_tell(&all, talk).await
}

async fn wait_and_tell(accepted: &Accepted, talk: &Talk) -> Result<(), Stop> {
    let operations = progress::follow(talk, accepted).await?;
    if talk.json {
        talk.json(&operations)?;
    } else {
        for operation in &operations {
            if let (Some(image), daas_api::OperationState::Done) =
                (&operation.image, operation.state)
            {
                talk.say(format!(
                    "image `{}` {} ({})",
                    image.familiar(),
                    progress::deed(operation.kind),
                    progress::took(operation)
                ));
            }
        }
    }
    progress::verdict(&operations)
}

async fn load(file: &Path, talk: &Talk) -> Result<(), Stop> {
    let archive: ByteFlow = if file.as_os_str() == "-" {
        flow(tokio::io::stdin())
    } else {
        flow(
            tokio::fs::File::open(file)
                .await
                .map_err(Stop::io("read", file.display()))?,
        )
    };
    let loaded = talk.client.load_image(archive).await?;
    talk.show(&loaded, || {
        let mut table = Table::new(&["IMAGE"]);
        for image in &loaded.images {
            table.row([image.familiar()]);
        }
        table
    })
}

pub(crate) fn flow(from: impl AsyncRead + Unpin + Send + 'static) -> ByteFlow {
    stream::try_unfold(from, |mut from| async move {
        let mut piece = vec![0u8; 256 * 1024];
        let n = from.read(&mut piece).await.map_err(|error| {
            Failure::new("input-failed", Kind::Outside, "cannot read the archive")
                .because(error.to_string())
        })?;
        piece.truncate(n);
        Ok((n > 0).then(|| (Bytes::from(piece), from)))
    })
    .boxed()
}

async fn save(image: &ImageName, output: &Path, talk: &Talk) -> Result<(), Stop> {
    let standard = output.as_os_str() == "-";
    if standard && talk.terminal.out_is_terminal {
        return Err(Stop::input(
            "save-to-terminal",
            "cannot write an archive to the terminal",
        )
        .hint("name a file with `--output`")
        .into());
    }
    let mut archive = talk.client.save_image(image).await?;
    if standard {
        while let Some(piece) = archive.try_next().await? {
            talk.data(piece)?;
        }
        return Ok(());
    }
    // Under another name until it is whole: half an archive looks like one.
    let part = PathBuf::from(format!("{}.part", output.display()));
    let written = write(&part, &mut archive).await;
    match written {
        Ok(bytes) => {
            std::fs::rename(&part, output).map_err(Stop::io("rename", part.display()))?;
            talk.say(format!("{}: {}", output.display(), human::size(bytes)));
            Ok(())
        }
        Err(stop) => {
            // The failure is told; the part is of no use to anybody.
            let _ = std::fs::remove_file(&part);
            Err(stop)
        }
    }
}

async fn write(part: &Path, archive: &mut ByteFlow) -> Result<u64, Stop> {
    let mut file = std::fs::File::create(part).map_err(Stop::io("write", part.display()))?;
    let mut bytes = 0u64;
    while let Some(piece) = archive.try_next().await? {
        file.write_all(&piece).map_err(unwritten)?;
        bytes += u64::try_from(piece.len()).unwrap_or(0);
    }
    file.sync_all().map_err(unwritten)?;
    Ok(bytes)
}

async fn remove(images: &[ImageName], talk: &Talk) -> Result<(), Stop> {
    for image in images {
        let removed = talk.client.remove_image(image).await?;
        if talk.json {
            talk.json_line(&removed)?;
        } else {
            let rest = if removed.still_named {
                "; the image has other names and stays"
            } else {
                ""
            };
            talk.say(format!("image `{}` is gone{rest}", removed.name.familiar()));
        }
    }
    Ok(())
}

/// Tells what was thrown away, or would be.
pub(crate) fn tell_pruned(pruned: &Pruned, dry_run: bool, talk: &Talk) -> Result<(), Stop> {
    if talk.json {
        return talk.json(pruned);
    }
    talk.data(
        pruned
            .removed
            .iter()
            .map(|what| format!("{}\n", daas_model::visible(what)))
            .collect::<String>(),
    )?;
    let word = if dry_run { "would free" } else { "freed" };
    talk.say(format!("{word} {}", human::size(pruned.freed_bytes)));
    Ok(())
}
