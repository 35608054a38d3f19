//! The typed calls, one per endpoint.

use crate::client::{Call, Client};
use daas_api::endpoint::{
    self, EXEC_PROTOCOL, FORWARD_PROTOCOL, FollowQuery, ForwardQuery, PathQuery, RAW,
};
use daas_api::platform::{BoxDuplex, ByteFlow, Flow};
use daas_api::{
    Accepted, ActRequest, Action, BuildRequest, Checked, DoctorReport, DownQuery, EventQuery,
    EventView, ExecRequest, Failure, GrantList, ImageDocuments, ImageRemoved, ImageView, Loaded,
    LogChunk, LogQuery, MakeRequest, Operation, OperationId, Page, PageQuery, PlanView,
    ProjectSource, PruneRequest, Pruned, PullRequest, RefreshRequest, ScaleRequest, StandStats,
    StandSummary, StandView, SystemInfo, SystemPruned, TagRequest, UpRequest,
};
use daas_model::{ImageName, NodeName, ProjectName, Protocol, StandName};
use futures_util::StreamExt;
use hyper::header::{ACCEPT, HeaderName};

/// Every call fails as the endpoint does, with `daemon-unreachable`, `daemon-lost` or `daemon-strange` for the way there.
/// A call may be dropped at any time: what the daemon has recorded by then will happen.
#[expect(
    clippy::missing_errors_doc,
    reason = "the sentence above is for all of them"
)]
impl Client {
    /// Reads a project and tells all of its faults.
    pub async fn check(&self, project: &ProjectSource) -> Result<Checked, Failure> {
        self.post(Call::new(&endpoint::PROJECT_CHECK, &[]), project)
            .await
    }

    /// Returns what was granted to a project.
    pub async fn grants(&self, project: &ProjectName) -> Result<GrantList, Failure> {
        self.get(Call::new(&endpoint::GRANTS_SHOW, &[project.as_str()]))
            .await
    }

    /// Replaces what is granted to a project.
    pub async fn set_grants(&self, grants: &GrantList) -> Result<GrantList, Failure> {
        self.post(
            Call::new(&endpoint::GRANTS_SET, &[grants.project.as_str()]),
            grants,
        )
        .await
    }

    /// Takes away all that was granted to a project.
    pub async fn clear_grants(&self, project: &ProjectName) -> Result<GrantList, Failure> {
        self.get(Call::new(&endpoint::GRANTS_CLEAR, &[project.as_str()]))
            .await
    }

    /// Returns one page of the stands.
    pub async fn stands_page(&self, query: &PageQuery) -> Result<Page<StandSummary>, Failure> {
        self.get(Call::new(&endpoint::STANDS_LIST, &[]).query(query))
            .await
    }

    /// Returns all stands, page by page.
    pub async fn stands(&self) -> Result<Vec<StandSummary>, Failure> {
        let mut all = Vec::new();
        let mut query = PageQuery::default();
        loop {
            let page = self.stands_page(&query).await?;
            all.extend(page.items);
            match page.next {
                None => return Ok(all),
                next => query.after = next,
            }
        }
    }

    /// Makes or changes stands. With a key, a repetition gets the first answer again.
    pub async fn up(&self, request: &UpRequest, key: Option<&str>) -> Result<Accepted, Failure> {
        let mut call = Call::new(&endpoint::STAND_UP, &[]);
        if let Some(key) = key {
            call = call.header(HeaderName::from_static("idempotency-key"), key);
        }
        self.post(call, request).await
    }

    /// Tells what [`Client::up`] would do.
    pub async fn plan(&self, request: &UpRequest) -> Result<Vec<PlanView>, Failure> {
        self.post(Call::new(&endpoint::STAND_PLAN, &[]), request)
            .await
    }

    /// Shows a stand.
    pub async fn stand(&self, stand: &StandName) -> Result<StandView, Failure> {
        self.get(Call::new(&endpoint::STAND_SHOW, &[stand.as_str()]))
            .await
    }

    /// Throws a stand away; with a revision only if it is still at it.
    pub async fn down(
        &self,
        stand: &StandName,
        how: &DownQuery,
        at: Option<u64>,
    ) -> Result<Accepted, Failure> {
        self.get(
            Call::new(&endpoint::STAND_DOWN, &[stand.as_str()])
                .query(how)
                .at(at),
        )
        .await
    }

    /// Starts, stops, restarts, pauses or resumes; with a revision only if the stand is still at it.
    pub async fn act(
        &self,
        stand: &StandName,
        action: Action,
        request: &ActRequest,
        at: Option<u64>,
    ) -> Result<Accepted, Failure> {
        self.post(
            Call::new(endpoint::of_action(action), &[stand.as_str()]).at(at),
            request,
        )
        .await
    }

    /// Changes numbers of replicas; with a revision only if the stand is still at it.
    pub async fn scale(
        &self,
        stand: &StandName,
        request: &ScaleRequest,
        at: Option<u64>,
    ) -> Result<Accepted, Failure> {
        self.post(
            Call::new(&endpoint::STAND_SCALE, &[stand.as_str()]).at(at),
            request,
        )
        .await
    }

    /// Reads logs piece by piece.
    pub async fn logs(
        &self,
        stand: &StandName,
        query: &LogQuery,
    ) -> Result<Flow<LogChunk>, Failure> {
        self.flow(Call::new(&endpoint::STAND_LOGS, &[stand.as_str()]).query(query))
            .await
    }

    /// Reads logs byte by byte as they were written.
    pub async fn raw_logs(&self, stand: &StandName, query: &LogQuery) -> Result<ByteFlow, Failure> {
        self.download(
            Call::new(&endpoint::STAND_LOGS, &[stand.as_str()])
                .query(query)
                .header(ACCEPT, RAW),
        )
        .await
    }

    /// Measures a stand once.
    pub async fn stats(&self, stand: &StandName) -> Result<StandStats, Failure> {
        self.get(Call::new(&endpoint::STAND_STATS, &[stand.as_str()]))
            .await
    }

    /// Measures a stand about every second.
    pub async fn follow_stats(&self, stand: &StandName) -> Result<Flow<StandStats>, Failure> {
        self.flow(
            Call::new(&endpoint::STAND_STATS, &[stand.as_str()])
                .query(&FollowQuery { follow: true }),
        )
        .await
    }

    /// Reads the events of one stand or of all.
    pub async fn events(
        &self,
        stand: Option<&StandName>,
        query: &EventQuery,
    ) -> Result<Flow<EventView>, Failure> {
        match stand {
            Some(stand) => {
                self.flow(Call::new(&endpoint::STAND_EVENTS, &[stand.as_str()]).query(query))
                    .await
            }
            None => {
                self.flow(Call::new(&endpoint::EVENTS, &[]).query(query))
                    .await
            }
        }
    }

    /// Runs a program inside a node: the connection carries [`daas_api::Frame`]s.
    pub async fn exec(
        &self,
        stand: &StandName,
        node: &NodeName,
        request: &ExecRequest,
    ) -> Result<BoxDuplex, Failure> {
        let body = self.to_json(request)?;
        self.upgrade(
            Call::new(&endpoint::STAND_EXEC, &[stand.as_str(), node.as_str()]),
            EXEC_PROTOCOL,
            Some(body),
        )
        .await
    }

    /// Reads a file or folder of a node as a tar archive.
    pub async fn copy_out(
        &self,
        stand: &StandName,
        node: &NodeName,
        path: &str,
    ) -> Result<ByteFlow, Failure> {
        let query = PathQuery {
            path: path.to_owned(),
        };
        self.download(
            Call::new(&endpoint::STAND_COPY_OUT, &[stand.as_str(), node.as_str()]).query(&query),
        )
        .await
    }

    /// Unpacks a tar archive into a folder of a node.
    pub async fn copy_in(
        &self,
        stand: &StandName,
        node: &NodeName,
        path: &str,
        archive: ByteFlow,
    ) -> Result<(), Failure> {
        let query = PathQuery {
            path: path.to_owned(),
        };
        self.upload(
            Call::new(&endpoint::STAND_COPY_IN, &[stand.as_str(), node.as_str()]).query(&query),
            archive,
        )
        .await
        .map(drop)
    }

    /// Connects to a port of a node.
    pub async fn forward(
        &self,
        stand: &StandName,
        node: &NodeName,
        port: u16,
        protocol: Protocol,
    ) -> Result<BoxDuplex, Failure> {
        let query = ForwardQuery {
            port,
            protocol: Some(protocol),
        };
        self.upgrade(
            Call::new(&endpoint::STAND_FORWARD, &[stand.as_str(), node.as_str()]).query(&query),
            FORWARD_PROTOCOL,
            None,
        )
        .await
    }

    /// Shows an operation.
    pub async fn operation(&self, id: &OperationId) -> Result<Operation, Failure> {
        self.get(Call::new(&endpoint::OPERATION_SHOW, &[id.as_str()]))
            .await
    }

    /// Follows an operation to its end.
    pub async fn follow_operation(&self, id: &OperationId) -> Result<Flow<Operation>, Failure> {
        self.flow(
            Call::new(&endpoint::OPERATION_SHOW, &[id.as_str()])
                .query(&FollowQuery { follow: true }),
        )
        .await
    }

    /// Returns all images, page by page.
    pub async fn images(&self) -> Result<Vec<ImageView>, Failure> {
        let mut all = Vec::new();
        let mut query = PageQuery::default();
        loop {
            let page: Page<ImageView> = self
                .get(Call::new(&endpoint::IMAGES_LIST, &[]).query(&query))
                .await?;
            all.extend(page.items);
            match page.next {
                None => return Ok(all),
                next => query.after = next,
            }
        }
    }

    /// Shows an image with its configuration.
    pub async fn image(&self, name: &ImageName) -> Result<ImageView, Failure> {
        self.get(Call::new(&endpoint::IMAGE_SHOW, &[&name.to_string()]))
            .await
    }

    /// Shows what is known about an image.
    pub async fn image_documents(&self, name: &ImageName) -> Result<ImageDocuments, Failure> {
        self.get(Call::new(&endpoint::IMAGE_DOCUMENTS, &[&name.to_string()]))
            .await
    }

    /// Takes a name away from an image.
    pub async fn remove_image(&self, name: &ImageName) -> Result<ImageRemoved, Failure> {
        self.get(Call::new(&endpoint::IMAGE_REMOVE, &[&name.to_string()]))
            .await
    }

    /// Writes an image as an archive.
    pub async fn save_image(&self, name: &ImageName) -> Result<ByteFlow, Failure> {
        self.download(Call::new(&endpoint::IMAGE_SAVE, &[&name.to_string()]))
            .await
    }

    /// Starts fetching an image.
    pub async fn pull_image(&self, request: &PullRequest) -> Result<Accepted, Failure> {
        self.post(Call::new(&endpoint::IMAGE_PULL, &[]), request)
            .await
    }

    /// Starts making a base image.
    pub async fn make_image(&self, request: &MakeRequest) -> Result<Accepted, Failure> {
        self.post(Call::new(&endpoint::IMAGE_MAKE, &[]), request)
            .await
    }

    /// Starts making images anew.
    pub async fn refresh_images(&self, request: &RefreshRequest) -> Result<Accepted, Failure> {
        self.post(Call::new(&endpoint::IMAGE_REFRESH, &[]), request)
            .await
    }

    /// Reads an OCI layout or `docker save` archive.
    pub async fn load_image(&self, archive: ByteFlow) -> Result<Loaded, Failure> {
        let bytes = self
            .upload(Call::new(&endpoint::IMAGE_LOAD, &[]), archive)
            .await?;
        self.understood(&bytes)
    }

    /// Starts building an image; `files` is an archive with the context below `context/` and others below `contexts/<name>/`.
    pub async fn build_image(
        &self,
        request: &BuildRequest,
        files: ByteFlow,
    ) -> Result<Accepted, Failure> {
        let head = serde_json::to_vec(request).map_err(|error| {
            Failure::new("request-strange", daas_model::Kind::Bug, error.to_string())
        })?;
        let length = u32::try_from(head.len()).map_err(|_| {
            Failure::new(
                "build-body",
                daas_model::Kind::Input,
                "the request is too large",
            )
        })?;
        let front = [length.to_be_bytes().as_slice(), &head].concat();
        let front = futures_util::stream::once(async move { Ok(bytes::Bytes::from(front)) });
        let bytes = self
            .upload_as(
                Call::new(&endpoint::IMAGE_BUILD, &[]),
                endpoint::BUILD,
                front.chain(files).boxed(),
            )
            .await?;
        self.understood(&bytes)
    }

    /// Reads what a build wrote; ends with the build.
    pub async fn build_log(&self, operation: &OperationId) -> Result<ByteFlow, Failure> {
        self.download(
            Call::new(&endpoint::OPERATION_LOG, &[operation.as_str()])
                .query(&FollowQuery { follow: true }),
        )
        .await
    }

    fn understood<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(bytes).map_err(|error| {
            Failure::new(
                "daemon-strange",
                daas_model::Kind::Bug,
                format!(
                    "cannot understand the daemon at `{}`: {error}",
                    self.address()
                ),
            )
        })
    }

    /// Throws away images that nothing needs.
    pub async fn prune_images(&self, request: &PruneRequest) -> Result<Pruned, Failure> {
        self.post(Call::new(&endpoint::IMAGE_PRUNE, &[]), request)
            .await
    }

    /// Gives an image one more name.
    pub async fn tag_image(&self, request: &TagRequest) -> Result<ImageView, Failure> {
        self.post(Call::new(&endpoint::IMAGE_TAG, &[]), request)
            .await
    }

    /// Tells what the daemon is and where it runs.
    pub async fn info(&self) -> Result<SystemInfo, Failure> {
        self.get(Call::new(&endpoint::SYSTEM_INFO, &[])).await
    }

    /// Looks whether the host has what stands need.
    pub async fn doctor(&self) -> Result<DoctorReport, Failure> {
        self.get(Call::new(&endpoint::SYSTEM_DOCTOR, &[])).await
    }

    /// Throws away images and leftovers that nothing needs.
    pub async fn prune(&self, request: &PruneRequest) -> Result<SystemPruned, Failure> {
        self.post(Call::new(&endpoint::SYSTEM_PRUNE, &[]), request)
            .await
    }

    /// Returns the description of the API.
    pub async fn openapi(&self) -> Result<serde_json::Value, Failure> {
        self.get(Call::new(&endpoint::OPENAPI, &[])).await
    }
}
