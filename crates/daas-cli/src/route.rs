//! `daas route <verb>`.

use crate::completions;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use clap::Subcommand;
use daas_api::{EdgeQuery, RouteView};
use daas_model::StandName;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteVerb {
    /// Lists where the services of stands answer by name.
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this stand.
        #[arg(value_name = "STAND", value_parser = stand_name, add = completions::stands())]
        stand: Option<StandName>,
    },
    /// Writes configuration by which another edge sends the hosts of stands to the ingress.
    Export {
        /// The edge.
        #[arg(value_name = "EDGE")]
        edge: Edge,
        /// How the edge reaches the ingress; one of its own addresses if nothing is said.
        #[arg(long, value_name = "ADDRESS:PORT")]
        to: Option<String>,
        /// Where the edge listens, for nginx and haproxy.
        #[arg(long, value_name = "[ADDRESS:]PORT")]
        listen: Option<String>,
    },
}

/// Edges that are known.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Edge {
    /// What its HTTP provider reads, as JSON.
    Traefik,
    /// A file for `conf.d`.
    Nginx,
    /// A file for a further `-f`.
    Haproxy,
}

fn stand_name(text: &str) -> Result<StandName, String> {
    StandName::parse(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(verb: RouteVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        RouteVerb::List { stand } => {
            let mut routes = talk.client.routes().await?.items;
            routes.retain(|route| stand.as_ref().is_none_or(|stand| route.stand == *stand));
            talk.show(&routes, || table(&routes))?;
            if routes.is_empty() && !talk.json {
                talk.say("no service of a stand looks like HTTP; `x-daas: routes:` in the compose file names ports");
            }
            Ok(())
        }
        RouteVerb::Export { edge, to, listen } => {
            let query = EdgeQuery { to, listen };
            let edge = match edge {
                Edge::Traefik => return talk.json(&talk.client.traefik(&query).await?),
                Edge::Nginx => "nginx",
                Edge::Haproxy => "haproxy",
            };
            let snippet = talk.client.edge_snippet(edge, &query).await?;
            if talk.json {
                talk.json(&snippet)
            } else {
                talk.data(snippet.text)
            }
        }
    }
}

fn table(routes: &[RouteView]) -> Table {
    let mut table = Table::new(&["STAND", "SERVICE", "URL", "PATH", "PORT INSIDE", "READY"]);
    for route in routes {
        let url = route
            .urls
            .first()
            .or(route.hosts.first())
            .cloned()
            .unwrap_or_else(|| "-".to_owned());
        let ready = if route.ready.is_empty() || !route.taken.is_empty() {
            Tone::Warning
        } else {
            Tone::Good
        };
        let mut count = format!("{}/{}", route.ready.len(), route.nodes);
        for (host, stand) in &route.taken {
            count.push_str(&format!(", {host} is {stand}'s"));
        }
        table.painted([
            (route.stand.to_string(), Tone::Plain),
            (route.service.clone(), Tone::Plain),
            (url, Tone::Plain),
            (route.path.clone(), Tone::Plain),
            (format!("{}/{}", route.port, route.protocol), Tone::Plain),
            (count, ready),
        ]);
    }
    table
}
