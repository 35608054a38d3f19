use super::Scale;
use super::up::{tell_accepted, wait_and_tell};
use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::ScaleRequest;
use daas_model::ServiceName;

pub(crate) async fn run(scale: Scale, talk: &Talk) -> Result<(), Stop> {
    let mut request = ScaleRequest {
        services: std::collections::BTreeMap::new(),
    };
    for (service, number) in scale.services {
        let service = ServiceName::parse(&service)
            .map_err(|error| Stop::input("service-name", error.to_string()))?;
        request.services.insert(service, number);
    }
    let accepted = talk.client.scale(&scale.stand, &request, None).await?;
    if scale.no_wait {
        tell_accepted(&accepted, talk)
    } else {
        wait_and_tell(&accepted, talk).await
    }
}
