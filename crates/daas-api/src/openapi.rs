//! The description of the API, made from the table of endpoints and the types.

use crate::endpoint::{
    BASE, Body, ENDPOINTS, EVENT_STREAM, Endpoint, Method, NDJSON, RAW, STAND_LOGS,
};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

type Schemas = Vec<(String, RefOr<Schema>)>;

/// Returns the description of the API (OpenAPI 3.1).
#[must_use]
pub fn openapi() -> OpenApi {
    let mut schemas = Schemas::new();
    Problem::schemas(&mut schemas);
    schemas.push((Problem::name().into_owned(), Problem::schema()));
    let mut items: BTreeMap<String, PathItem> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let operation = operation(endpoint, &mut schemas);
        let item = PathItem::new(method(endpoint.method), operation);
        match items.entry(format!("{BASE}{}", endpoint.path)) {
            Entry::Vacant(entry) => {
                entry.insert(item);
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().merge_operations(item);
            }
        }
    }
    let paths = items
        .into_iter()
        .fold(PathsBuilder::new(), |paths, (path, item)| {
            paths.path(path, item)
        });
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| {
            components.schema(name, schema)
        });
    let info = InfoBuilder::new()
        .title("DaaS")
        .version("1")
        .description(Some("Everything that the command line and the pages do. Errors are RFC 9457 problems with stable codes."))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Put => HttpMethod::Put,
        Method::Delete => HttpMethod::Delete,
    }
}

fn operation(endpoint: &Endpoint, schemas: &mut Schemas) -> utoipa::openapi::path::Operation {
    let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    let mut operation = OperationBuilder::new()
        .operation_id(Some(endpoint.id))
        .tag(endpoint.noun())
        .summary(Some(endpoint.summary));
    for part in endpoint.parts() {
        let parameter = ParameterBuilder::new()
            .name(part)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text()));
        operation = operation.parameter(parameter);
    }
    for parameter in (endpoint.query)() {
        operation = operation.parameter(parameter);
    }
    for header in endpoint.headers {
        let parameter = ParameterBuilder::new()
            .name(header.name())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(header.summary()))
            .schema(Some(text()));
        operation = operation.parameter(parameter);
    }
    let contents =
        |body: Body, schemas: &mut Schemas| -> Vec<(&'static str, Option<RefOr<Schema>>)> {
            match body {
                Body::Empty | Body::Upgrade(_) => Vec::new(),
                Body::Json(schema) => vec![("application/json", Some(schema(schemas)))],
                Body::Events(schema) => vec![
                    (EVENT_STREAM, Some(schema(schemas))),
                    (NDJSON, Some(schema(schemas))),
                ],
                Body::JsonOrEvents(schema) => vec![
                    ("application/json", Some(schema(schemas))),
                    (EVENT_STREAM, Some(schema(schemas))),
                    (NDJSON, Some(schema(schemas))),
                ],
                Body::Bytes(media) => vec![(media, None)],
            }
        };
    let mut request = RequestBodyBuilder::new().required(Some(Required::True));
    let request_contents = contents(endpoint.request, schemas);
    let has_request = !request_contents.is_empty();
    for (media, schema) in request_contents {
        request = request.content(media, ContentBuilder::new().schema(schema).build());
    }
    if has_request {
        operation = operation.request_body(Some(request.build()));
    }
    let words = match endpoint.answer {
        Body::Upgrade(protocol) => format!("The connection carries `{protocol}`"),
        _ if endpoint.status == 202 => "It was recorded and will happen".to_owned(),
        _ => "Done".to_owned(),
    };
    let mut answer = ResponseBuilder::new().description(words);
    for (media, schema) in contents(endpoint.answer, schemas) {
        answer = answer.content(media, ContentBuilder::new().schema(schema).build());
    }
    if endpoint.id == STAND_LOGS.id {
        answer = answer.content(RAW, ContentBuilder::new().build());
    }
    let problem = ResponseBuilder::new()
        .description("It failed, and why")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(Problem::name())))
                .build(),
        );
    operation
        .response(endpoint.status.to_string(), answer)
        .response("default", problem)
        .build()
}
