//! A builder with nothing around it, for tests and for figures: requests come as lines of JSON, events and answers go as lines of JSON.
//!
//! `daas-build-alone STATE CGROUP [REACHABLE]...`: the blocks that builds may reach besides public ones; `certificates=FILE` is what they trust besides the machine's own. A request: `{"id": 1, "dockerfile": "...", "context": "/folder", "args": {}, "names": [], ...}`.
//! Must begin with one thread: the process that bears keepers is forked first.
//!
//! Not here: who may build, and how a request arrives (`daas-control`, `daas-server`).
#![expect(
    clippy::print_stdout,
    reason = "its output is what it is for: lines for who asked"
)]

use daas_build::{BuildRequest, Builder, ContextSource, Event};
use daas_engine::{EngineConfig, LocalEngine};
use daas_image::RegistrySettings;
use daas_model::{ByteSize, Egress, Explain, ImageName, Limits, ProjectName};
use daas_tasks::Supervisor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(state), Some(cgroup)) = (arguments.next(), arguments.next()) else {
        return Err("usage: daas-build-alone STATE CGROUP [REACHABLE]...".into());
    };
    let mut settings = daas_build::BuildSettings::default();
    let (files, blocks): (Vec<_>, Vec<_>) =
        arguments.partition(|word| word.starts_with("certificates="));
    if let Some((_, file)) = files.first().and_then(|word| word.split_once('=')) {
        settings.certificates = Some(file.into());
    }
    let reachable = blocks
        .iter()
        .map(|text| daas_model::Subnet::parse(text).map_err(|e| e.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let zygote = daas_keeper::zygote::fork().map_err(|fault| fault.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(
        PathBuf::from(state),
        cgroup,
        reachable,
        settings,
        zygote,
    ))
}

async fn serve(
    state: PathBuf,
    cgroup_root: String,
    reachable: Vec<daas_model::Subnet>,
    settings: daas_build::BuildSettings,
    zygote: daas_keeper::zygote::ZygoteHandle,
) -> Outcome<()> {
    let tasks = Supervisor::new();
    let images = daas_image::Store::open_with(
        &state.join("images"),
        daas_image::Budget::default(),
        tasks.clone(),
    )?;
    let config = EngineConfig {
        state: state.clone(),
        cgroup_root,
        // Spares would still be made while the program ends.
        spares: 0,
        spare_disk: Limits::default().disk,
        registries: RegistrySettings::default(),
        upstreams: Vec::new(),
        reachable,
    };
    let engine = LocalEngine::start(config, zygote, Arc::new(images), tasks.clone()).await?;
    // What the daemon does at its start with stands that no record knows.
    for id in daas_engine::Engine::known(&engine) {
        let order = daas_engine::Order {
            name: daas_model::StandName::parse("orphan").map_err(|e| e.to_string())?,
            spec: Arc::new(daas_model::StandSpec {
                project: ProjectName::parse("orphan").map_err(|e| e.to_string())?,
                kind: daas_model::StandKind::Build,
                nodes: BTreeMap::new(),
                networks: BTreeMap::new(),
                volumes: BTreeMap::new(),
                files: BTreeMap::new(),
                limits: Limits::default(),
                egress: Egress::None,
                ttl: None,
                routes: Vec::new(),
                sleep_after: None,
            }),
            addresses: daas_plan::Addresses::default(),
            host_address: None,
            grace: None,
            pins: daas_engine::Pins::new(),
            id,
        };
        let silent: daas_engine::Teller = Arc::new(|_| ());
        daas_engine::Engine::apply(&engine, &order, &daas_plan::Step::Close, &silent).await?;
    }
    let builder = Builder::open(engine.clone(), tasks.clone(), state.join("build"), settings)?;
    // rules: print here: lines for the program that asked
    println!("{}", json!({"ready": true}));
    let (lines, mut incoming) = tokio::sync::mpsc::channel::<String>(16);
    tasks.run_blocking("requests", move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut running = Vec::new();
    while let Some(line) = incoming.recv().await {
        let request: Value = serde_json::from_str(&line)?;
        let (builder, engine) = (builder.clone(), engine.clone());
        running.push(tasks.run("request", |_| async move {
            let id = request["id"].clone();
            let since = Instant::now();
            let answer = match one(&builder, &engine, &request, id.clone()).await {
                Ok(answer) => answer,
                Err(error) => json!({"error": error.to_string()}),
            };
            // rules: print here: lines for the program that asked
            println!(
                "{}",
                json!({"id": id, "answer": answer, "micros": u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)})
            );
        }));
    }
    for request in running {
        // Its answer was printed.
        let _ = request.await;
    }
    engine.leave().await;
    tasks.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn one(
    builder: &Builder,
    engine: &LocalEngine,
    request: &Value,
    id: Value,
) -> Outcome<Value> {
    if request["gc"].as_bool() == Some(true) {
        let done = engine.images().gc(&daas_image::InUse::default())?;
        return Ok(json!({"layers": done.layers.len(), "blobs": done.blobs.len()}));
    }
    let mut contexts = Vec::new();
    let mut wanted = BuildRequest::new(text(request, "dockerfile").into_bytes());
    if let Some(folder) = request["context"].as_str() {
        let context = receive(builder, Path::new(folder))?;
        context.ignore(context.path(), "Dockerfile")?;
        wanted.context = Some(context.path().to_owned());
        contexts.push(context);
    }
    for (name, place) in map(request, "contexts") {
        let context = receive(builder, Path::new(&place))?;
        wanted
            .contexts
            .insert(name, ContextSource::Folder(context.path().to_owned()));
        contexts.push(context);
    }
    wanted.args = map(request, "args");
    wanted.labels = map(request, "labels");
    wanted.target = request["target"].as_str().map(str::to_owned);
    wanted.platform = request["platform"].as_str().map(str::to_owned);
    wanted.no_cache = request["no_cache"].as_bool().unwrap_or(false);
    wanted.project = request["project"]
        .as_str()
        .map(ProjectName::parse)
        .transpose()
        .map_err(|e| e.to_string())?;
    wanted.egress = match request["egress"].as_str() {
        Some("proxy") => Egress::Proxy,
        Some("full") => Egress::Full,
        _ => Egress::None,
    };
    for grant in request["grants"].as_array().into_iter().flatten() {
        let grant = daas_model::Grant::parse(grant.as_str().unwrap_or_default())?;
        wanted.policy.grants.insert(grant);
    }
    wanted.secrets = map(request, "secrets")
        .into_iter()
        .map(|(id, content)| (id, content.into_bytes()))
        .collect();
    wanted.ssh = map(request, "ssh")
        .into_iter()
        .map(|(id, path)| (id, PathBuf::from(path)))
        .collect();
    for name in request["names"].as_array().into_iter().flatten() {
        let name =
            ImageName::parse(name.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        wanted.names.push(name);
    }
    let limits = &request["limits"];
    if let Some(memory) = limits["memory"].as_u64() {
        wanted.limits.memory = ByteSize(memory);
    }
    if let Some(disk) = limits["disk"].as_u64() {
        wanted.limits.disk = ByteSize(disk);
    }
    if let Some(pids) = limits["pids"].as_u64() {
        wanted.limits.pids = u32::try_from(pids)?;
    }
    let quiet = request["quiet"].as_bool() == Some(true);
    let tell = Arc::new(move |event: Event| {
        if !quiet {
            // rules: print here: lines for the program that asked
            println!("{}", json!({"id": id, "event": shown(event)}));
        }
    });
    match builder.build(wanted, tell).await {
        Ok(image) => Ok(json!({
            "digest": image.digest.as_str(),
            "config": image.config,
            "created": image.created,
            "history": image.history,
            "layers": image.layers.iter().map(|l| l.path.display().to_string()).collect::<Vec<_>>(),
            "size": image.size.0,
        })),
        Err(error) => Ok(json!({
            "failed": error.code(),
            "why": daas_model::render_chain(&*error),
            "hint": error.hint(),
        })),
    }
}

/// Packs a folder as a client does, and lets the builder receive it.
fn receive(builder: &Builder, folder: &Path) -> Outcome<daas_build::Context> {
    if folder.is_file() {
        return Ok(builder.receive(std::fs::File::open(folder)?)?);
    }
    let mut tar = Command::new("tar")
        .args(["--create", "--file=-", "--sort=name", "--directory"])
        .arg(folder)
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = tar.stdout.take().ok_or("tar has no output")?;
    let context = builder.receive(stream)?;
    tar.wait()?;
    Ok(context)
}

fn text(request: &Value, key: &str) -> String {
    request[key].as_str().unwrap_or_default().to_owned()
}

fn map(request: &Value, key: &str) -> BTreeMap<String, String> {
    request[key]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn shown(event: Event) -> Value {
    match event {
        Event::Began { step, stage, text } => json!({"began": step, "stage": stage, "text": text}),
        Event::Output { step, piece } => {
            json!({"output": step, "text": String::from_utf8_lossy(&piece.bytes), "error": piece.error})
        }
        Event::Done {
            step,
            cached,
            millis,
        } => json!({"done": step, "cached": cached, "millis": millis}),
        Event::Failed { step } => json!({"failed": step}),
        Event::Fetching { step, done, total } => {
            json!({"fetching": step, "done": done, "total": total})
        }
        Event::Remark { text } => json!({"remark": text}),
    }
}
