//! `daas registry <verb>`.

use crate::completions;
use crate::human;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use clap::{Args, Subcommand};
use daas_api::{
    ExpiredList, LoginRequest, LoginView, ManifestView, PruneRequest, PublishRequest,
    RegistryProject, RegistryRules, RetentionRule,
};
use daas_model::{ByteSize, ImageName, ProjectName, Span, visible};

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryVerb {
    /// Shows where the registry is, and its repositories.
    Info,
    /// Lists the repositories.
    #[command(visible_alias = "ls")]
    List,
    /// Lists the tags of a repository.
    Tags {
        /// The repository, `shop/web`.
        #[arg(value_name = "REPOSITORY")]
        repository: String,
    },
    /// Shows a manifest.
    #[command(visible_alias = "inspect")]
    Show {
        /// `repository:tag` or `repository@digest` [default tag: `latest`].
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Deletes tags, manifests or whole repositories.
    #[command(visible_alias = "rm")]
    Delete {
        /// `repository:tag`, `repository@digest`, or with `--all` a `repository`.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Names are repositories, which go with all that they have.
        #[arg(long)]
        all: bool,
    },
    /// Puts an image of the store into the registry, without a copy.
    Publish {
        /// The image.
        #[arg(value_name = "IMAGE", value_parser = image_name, add = completions::images())]
        image: ImageName,
        /// `repository:tag` in the registry.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Collects contents that nothing refers to, while everybody pushes and pulls.
    Gc {
        /// Tells what would go, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows or sets what is thrown away in time, and throws it away.
    Retention(Retention),
    /// Shows or sets how much a project may hold.
    Quota {
        /// The project.
        #[arg(value_name = "PROJECT", value_parser = project_name)]
        project: ProjectName,
        /// The most that its repositories may hold, `20 GiB`; `none` for no limit.
        #[arg(value_name = "SIZE")]
        size: Option<String>,
    },
    /// Says who else may pull what a project has.
    Share {
        /// The project.
        #[arg(value_name = "PROJECT", value_parser = project_name)]
        project: ProjectName,
        /// Stands and logins of this project too; say it again for more.
        #[arg(long = "with", value_name = "PROJECT", value_parser = project_name)]
        with: Vec<ProjectName>,
        /// Everybody, without a login.
        #[arg(long, conflicts_with = "private")]
        public: bool,
        /// Nobody else, from now on.
        #[arg(long, conflicts_with = "with")]
        private: bool,
    },
    /// Shows or says which branches of a project are alive, for rules about branches.
    Branches {
        /// The project.
        #[arg(value_name = "PROJECT", value_parser = project_name)]
        project: ProjectName,
        /// The branches; all others are dead from now on.
        #[arg(value_name = "BRANCH")]
        branches: Vec<String>,
    },
    /// Makes a login for `docker login` and prints its password, once.
    LoginToken(LoginArgs),
    /// Lists the logins.
    Logins,
    /// Takes logins away; what was given for them ends at once.
    Logout {
        /// Their names.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

/// What is thrown away, and whether now.
#[derive(Debug, Args)]
pub(crate) struct Retention {
    /// The project.
    #[arg(value_name = "PROJECT", value_parser = project_name)]
    project: ProjectName,
    /// A rule, `tags=pr-*,keep=5,older-than=14d` or `untagged,older-than=7d` or `tags=branch-*,branch`; say it again for more. They
    /// replace the rules that there are; the first that fits a tag decides.
    #[arg(long = "rule", value_name = "RULE", value_parser = rule)]
    rules: Vec<RetentionRule>,
    /// Takes all rules away.
    #[arg(long, conflicts_with = "rules")]
    clear: bool,
    /// Throws away now what the rules say; it is done every hour anyway.
    #[arg(long)]
    run: bool,
}

/// Whose login, and what for.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The name to log in with.
    #[arg(value_name = "NAME")]
    name: String,
    /// The project that he may pull from [default: all].
    #[arg(long, value_name = "PROJECT", value_parser = project_name)]
    project: Option<ProjectName>,
    /// He may push.
    #[arg(long)]
    push: bool,
    /// He may delete.
    #[arg(long)]
    delete: bool,
    /// How long it is good, `30d` [default: for ever].
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires_in: Option<Span>,
}

fn image_name(text: &str) -> Result<ImageName, String> {
    ImageName::parse(text).map_err(|error| error.to_string())
}

fn project_name(text: &str) -> Result<ProjectName, String> {
    ProjectName::parse(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

/// Reads a rule: `key=value` or a word, between commas.
fn rule(text: &str) -> Result<RetentionRule, String> {
    let mut rule = RetentionRule::default();
    let mut untagged = false;
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("tags", pattern) if !pattern.is_empty() => rule.tags = Some(pattern.to_owned()),
            ("keep", number) => {
                let keep = number.parse().map_err(|_| "`keep` takes a number")?;
                rule.keep = Some(keep);
            }
            ("older-than", time) => rule.older_than = Some(span(time)?),
            ("branch", "") => rule.branch = true,
            ("untagged", "") => untagged = true,
            _ => {
                return Err(format!(
                    "`{}` is none of tags=PATTERN, untagged, keep=N, older-than=TIME, branch",
                    part.escape_debug()
                ));
            }
        }
    }
    if untagged == rule.tags.is_some() {
        return Err("a rule is about `tags=PATTERN` or about what is `untagged`".to_owned());
    }
    Ok(rule)
}

/// Parts `repository:tag` or `repository@digest`; nothing for a repository alone.
fn parts(name: &str) -> Option<(&str, &str)> {
    name.split_once('@')
        .or_else(|| name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')))
}

/// Returns a name without the registry's own host, which people write as clients do.
async fn bare(name: &str, talk: &Talk) -> Result<String, Stop> {
    let Some((host, rest)) = name.split_once('/') else {
        return Ok(name.to_owned());
    };
    // No project's name has these.
    if !host.contains([':', '.']) && host != "localhost" {
        return Ok(name.to_owned());
    }
    let info = talk.client.registry().await?;
    let own = info.names.iter().chain(&info.listens);
    let own = own.chain(std::iter::once(&info.inner_name));
    let is_own = own.into_iter().any(|name| name == host);
    Ok(if is_own { rest } else { name }.to_owned())
}

pub(crate) async fn run(verb: RegistryVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        RegistryVerb::Info => info(talk).await,
        RegistryVerb::List => list(talk).await,
        RegistryVerb::Tags { repository } => tags(&bare(&repository, talk).await?, talk).await,
        RegistryVerb::Show { name } => {
            let name = bare(&name, talk).await?;
            let (repository, reference) = parts(&name).unwrap_or((&name, "latest"));
            show(&talk.client.manifest(repository, reference).await?, talk)
        }
        RegistryVerb::Delete { names, all } => delete(&names, all, talk).await,
        RegistryVerb::Publish { image, name } => {
            let request = PublishRequest { image, name };
            show(&talk.client.publish(&request).await?, talk)
        }
        RegistryVerb::Gc { dry_run } => gc(dry_run, talk).await,
        RegistryVerb::Retention(retention) => retain(retention, talk).await,
        RegistryVerb::Quota { project, size } => quota(&project, size.as_deref(), talk).await,
        RegistryVerb::Share {
            project,
            with,
            public,
            private,
        } => share(&project, with, public, private, talk).await,
        RegistryVerb::Branches { project, branches } if branches.is_empty() => {
            show_project(&talk.client.registry_project(&project).await?, talk)
        }
        RegistryVerb::Branches { project, branches } => {
            change(&project, talk, |rules| {
                rules.branches = Some(branches.into_iter().collect());
            })
            .await
        }
        RegistryVerb::LoginToken(args) => login(args, talk).await,
        RegistryVerb::Logins => logins(talk).await,
        RegistryVerb::Logout { names } => {
            for name in &names {
                talk.client.remove_login(name).await?;
                talk.say(format!("{} may not log in any more", visible(name)));
            }
            Ok(())
        }
    }
}

async fn info(talk: &Talk) -> Result<(), Stop> {
    let info = talk.client.registry().await?;
    if talk.json {
        return talk.json(&info);
    }
    let listens = if info.listens.is_empty() {
        "nowhere on the host".to_owned()
    } else {
        info.listens.join(" ")
    };
    let caches = if info.caches.is_empty() {
        "none".to_owned()
    } else {
        info.caches.join(" ")
    };
    talk.data(format!(
        "listens       {listens}\ninside stands {}\nnames         {}\ncaches        {caches}\nrepositories  {}\nuploads       {}\n",
        info.inner_name,
        info.names.join(" "),
        info.repositories,
        info.uploads,
    ))
}

async fn list(talk: &Talk) -> Result<(), Stop> {
    let repositories = talk.client.repositories().await?;
    let now_ms = talk.terminal.now_ms();
    talk.show(&repositories, || {
        let mut table = Table::new(&["REPOSITORY", "TAGS", "MANIFESTS", "SIZE", "CHANGED"]);
        for repository in &repositories {
            table.row([
                repository.name.clone(),
                repository.tags.to_string(),
                repository.manifests.to_string(),
                human::size(repository.bytes),
                human::age(repository.changed_ms, now_ms),
            ]);
        }
        table
    })?;
    if repositories.is_empty() && !talk.json {
        talk.say("the registry is empty; `daas registry login-token` makes a login, `docker push` fills it");
    }
    Ok(())
}

async fn tags(repository: &str, talk: &Talk) -> Result<(), Stop> {
    let tags = talk.client.repository_tags(repository).await?.items;
    let now_ms = talk.terminal.now_ms();
    talk.show(&tags, || {
        let mut table = Table::new(&["TAG", "DIGEST", "SIZE", "AGE"]);
        for tag in &tags {
            table.row([
                tag.tag.clone(),
                tag.digest.chars().take(19).collect(),
                human::size(tag.bytes),
                human::age(tag.since_ms, now_ms),
            ]);
        }
        table
    })
}

fn show(view: &ManifestView, talk: &Talk) -> Result<(), Stop> {
    if talk.json {
        return talk.json(view);
    }
    let mut lines = vec![
        ("repository", view.repository.clone()),
        ("digest", view.digest.clone()),
        ("type", view.media_type.clone()),
        ("size", human::size(view.total_bytes)),
        ("tags", view.tags.join(" ")),
    ];
    let kind = view.artifact_type.iter().map(|kind| ("kind", kind.clone()));
    lines.extend(kind);
    let subject = view.subject.iter().map(|of| ("about", of.clone()));
    lines.extend(subject);
    let lists = [
        ("part", &view.parts),
        ("manifest", &view.children),
        ("document", &view.referrers),
    ];
    for (word, digests) in lists {
        lines.extend(digests.iter().map(|digest| (word, digest.clone())));
    }
    lines.extend(view.used_by.iter().map(|by| ("used by", by.clone())));
    let text: String = lines
        .iter()
        .map(|(word, value)| format!("{word:<11} {}\n", visible(value)))
        .collect();
    talk.data(text)
}

async fn delete(names: &[String], all: bool, talk: &Talk) -> Result<(), Stop> {
    for name in names {
        let name = &bare(name, talk).await?;
        if all {
            talk.client.delete_repository(name).await?;
            talk.say(format!("deleted {}", visible(name)));
            continue;
        }
        let Some((repository, reference)) = parts(name) else {
            return Err(Stop::input(
                "registry-name",
                format!("`{}` is no `repository:tag` and no `repository@digest`", visible(name)),
            )
            .hint(format!("`daas registry tags {0}` shows its tags; `daas registry delete --all {0}` deletes all that it has", visible(name)))
            .into());
        };
        let view = talk.client.manifest(repository, reference).await?;
        talk.client.delete_manifest(repository, reference).await?;
        let user = view.used_by.map_or_else(String::new, |by| {
            format!("; {} goes on with what it has", visible(&by))
        });
        talk.say(format!("deleted {}{user}", visible(name)));
    }
    Ok(())
}

async fn gc(dry_run: bool, talk: &Talk) -> Result<(), Stop> {
    let request = PruneRequest {
        dry_run,
        ..PruneRequest::default()
    };
    let collected = talk.client.collect_registry(&request).await?;
    if talk.json {
        return talk.json(&collected);
    }
    for name in &collected.unlinked {
        talk.data(format!("unused {}\n", visible(name)))?;
    }
    for digest in &collected.blobs {
        talk.data(format!("blob   {digest}\n"))?;
    }
    let verb = if dry_run { "would free" } else { "freed" };
    talk.say(format!("{verb} {}", human::size(collected.freed_bytes)));
    Ok(())
}

async fn retain(retention: Retention, talk: &Talk) -> Result<(), Stop> {
    let project = &retention.project;
    if retention.clear || !retention.rules.is_empty() {
        let mut rules = talk.client.registry_project(project).await?.rules;
        rules.retention = retention.rules;
        talk.client.set_registry_project(project, &rules).await?;
    }
    let request = PruneRequest {
        dry_run: !retention.run,
        ..PruneRequest::default()
    };
    let plan = talk.client.expire(project, &request).await?;
    if talk.json {
        return talk.json(&plan);
    }
    let rules = talk.client.registry_project(project).await?.rules.retention;
    if rules.is_empty() {
        talk.say(format!(
            "project `{project}` has no rules: nothing is thrown away"
        ));
        return Ok(());
    }
    for rule in &rules {
        talk.say(format!("rule {}", rule_text(rule)));
    }
    tell_expired(&plan, retention.run, talk)
}

fn rule_text(rule: &RetentionRule) -> String {
    let mut parts = vec![match &rule.tags {
        Some(pattern) => format!("tags={pattern}"),
        None => "untagged".to_owned(),
    }];
    parts.extend(rule.keep.map(|keep| format!("keep={keep}")));
    parts.extend(rule.older_than.map(|time| format!("older-than={time}")));
    parts.extend(rule.branch.then(|| "branch".to_owned()));
    parts.join(",")
}

fn tell_expired(plan: &ExpiredList, done: bool, talk: &Talk) -> Result<(), Stop> {
    let mut table = Table::new(&["NAME", if done { "WENT" } else { "GOES" }, "WHY"]);
    for expired in &plan.items {
        let (word, tone) = if expired.used {
            ("stays", Tone::Good)
        } else {
            ("yes", Tone::Warning)
        };
        table.painted([
            (expired.name.clone(), Tone::Plain),
            (word.to_owned(), tone),
            (expired.reason.clone(), Tone::Plain),
        ]);
    }
    talk.data(table.text(talk.paint))
}

/// Changes the rules of a project and shows them.
async fn change(
    project: &ProjectName,
    talk: &Talk,
    how: impl FnOnce(&mut RegistryRules),
) -> Result<(), Stop> {
    let mut rules = talk.client.registry_project(project).await?.rules;
    how(&mut rules);
    let view = talk.client.set_registry_project(project, &rules).await?;
    show_project(&view, talk)
}

fn show_project(view: &RegistryProject, talk: &Talk) -> Result<(), Stop> {
    if talk.json {
        return talk.json(view);
    }
    let quota = view
        .rules
        .quota
        .map_or_else(|| "no limit".to_owned(), |size| human::size(size.0));
    let mut text = format!(
        "project  {}\nholds    {} of {quota}\n",
        view.project,
        human::size(view.used_bytes)
    );
    if view
        .rules
        .quota
        .is_some_and(|size| size.0 <= view.used_bytes)
    {
        text.push_str(
            "full     nothing more is taken until tags are deleted or the quota is raised\n",
        );
    }
    let shared: Vec<&str> = view
        .rules
        .shared_with
        .iter()
        .map(ProjectName::as_str)
        .collect();
    if view.rules.public {
        text.push_str("pulls    everybody\n");
    } else if !shared.is_empty() {
        text.push_str(&format!("pulls    also {}\n", shared.join(" ")));
    }
    if let Some(branches) = &view.rules.branches {
        let names: Vec<&str> = branches.iter().map(String::as_str).collect();
        text.push_str(&format!("branches {}\n", visible(&names.join(" "))));
    }
    talk.data(text)
}

async fn quota(project: &ProjectName, size: Option<&str>, talk: &Talk) -> Result<(), Stop> {
    let quota = match size {
        None => return show_project(&talk.client.registry_project(project).await?, talk),
        Some("none") => None,
        Some(text) => Some(
            ByteSize::parse(text)
                .map_err(|error| Stop::input("size-invalid", error.to_string()))?,
        ),
    };
    change(project, talk, |rules| rules.quota = quota).await
}

async fn share(
    project: &ProjectName,
    with: Vec<ProjectName>,
    public: bool,
    private: bool,
    talk: &Talk,
) -> Result<(), Stop> {
    change(project, talk, |rules| {
        if private {
            rules.public = false;
            rules.shared_with.clear();
        }
        rules.public |= public;
        rules.shared_with.extend(with);
    })
    .await
}

async fn login(args: LoginArgs, talk: &Talk) -> Result<(), Stop> {
    let request = LoginRequest {
        name: args.name,
        project: args.project,
        push: args.push,
        delete: args.delete,
        expires_in: args.expires_in,
    };
    let earlier = talk.client.logins().await?.items;
    let made = talk.client.add_login(&request).await?;
    if talk.json {
        return talk.json(&made);
    }
    talk.data(format!("{}\n", made.secret))?;
    let info = talk.client.registry().await?;
    if let Some(address) = info.listens.first() {
        talk.say(format!(
            "it is shown this once; `docker login {address} -u {}` asks for it",
            made.login.name
        ));
    }
    if earlier.iter().any(|login| login.name == made.login.name) {
        talk.say(format!(
            "there was a login `{}`: its password and its rights have ended",
            made.login.name
        ));
    }
    Ok(())
}

async fn logins(talk: &Talk) -> Result<(), Stop> {
    let logins = talk.client.logins().await?.items;
    let now_ms = talk.terminal.now_ms();
    talk.show(&logins, || {
        let mut table = Table::new(&["NAME", "PROJECT", "MAY", "AGE", "ENDS"]);
        for login in &logins {
            let project = login.project.as_ref();
            table.row([
                login.name.clone(),
                project.map_or_else(|| "all".to_owned(), ToString::to_string),
                rights(login),
                human::age(login.created_ms, now_ms),
                match login.expires_ms {
                    None => "never".to_owned(),
                    Some(at) if at <= now_ms => "ended".to_owned(),
                    Some(at) => format!("in {}", human::age(now_ms, at)),
                },
            ]);
        }
        table
    })
}

fn rights(login: &LoginView) -> String {
    let mut words = vec!["pull"];
    words.extend(login.push.then_some("push"));
    words.extend(login.delete.then_some("delete"));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in [
            "tags=pr-*,keep=5,older-than=14d",
            "untagged,older-than=7d",
            "tags=branch-*,branch",
        ] {
            assert_eq!(rule_text(&rule(text).unwrap()), text);
        }
        for text in [
            "",
            "tags=",
            "keep=5",
            "tags=*,keep=x",
            "tags=*,untagged,keep=1",
            "tags=*,colour=red",
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_have_a_tag_or_a_digest() {
        assert_eq!(parts("shop/web:1"), Some(("shop/web", "1")));
        assert_eq!(parts("shop/web@sha256:00"), Some(("shop/web", "sha256:00")));
        assert_eq!(parts("shop/web"), None);
        assert_eq!(parts("host:5000/web"), None);
    }
}
