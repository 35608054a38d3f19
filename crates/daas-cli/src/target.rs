use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::Failure;
use daas_model::{Kind, NodeName, StandName};
use std::str::FromStr;

/// A node of a stand as the user names it: `shop/web`, or `shop` if the stand has only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) stand: StandName,
    pub(crate) node: Option<NodeName>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (stand, node) = match text.split_once('/') {
            Some((stand, node)) => (stand, Some(node)),
            None => (text, None),
        };
        let stand = StandName::parse(stand).map_err(|error| error.to_string())?;
        let node = node
            .map(NodeName::parse)
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self { stand, node })
    }
}

impl Target {
    /// Returns the node; asks the daemon if the user named none.
    pub(crate) async fn node(&self, talk: &Talk) -> Result<NodeName, Stop> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let view = talk.client.stand(&self.stand).await?;
        match &view.nodes[..] {
            [only] => Ok(only.name.clone()),
            nodes => {
                let names: Vec<String> = nodes
                    .iter()
                    .map(|node| format!("`{}/{}`", self.stand, node.name))
                    .collect();
                let failure = Failure::new(
                    "node-unnamed",
                    Kind::Input,
                    format!(
                        "cannot choose a node of stand `{}`: it has {}",
                        self.stand,
                        nodes.len()
                    ),
                );
                Err(failure
                    .hint(format!("name one: {}", names.join(", ")))
                    .into())
            }
        }
    }
}
