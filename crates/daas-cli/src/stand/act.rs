use super::Act;
use super::up::{tell_accepted, wait_and_tell};
use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::{ActRequest, Action};

pub(crate) async fn run(action: Action, act: Act, talk: &Talk) -> Result<(), Stop> {
    let request = ActRequest {
        nodes: act.nodes,
        grace: act.grace,
    };
    let accepted = talk.client.act(&act.stand, action, &request, None).await?;
    if act.no_wait {
        tell_accepted(&accepted, talk)
    } else {
        wait_and_tell(&accepted, talk).await
    }
}
