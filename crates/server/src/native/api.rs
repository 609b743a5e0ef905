//! One table of operations, from which the router and the OpenAPI document are both made: what is served is what is described.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::StatusCode;
use posthaste_domain::resource::Scope;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, HttpMethod, InfoBuilder, KnownFormat, LicenseBuilder, OneOfBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr,
    Required, Schema, SchemaFormat,
};
use utoipa::{PartialSchema, ToSchema};

use crate::AppState;
use crate::auth::scope_name;
use crate::input::{Param, ParamKind};
use crate::problem::{FieldProblem, PROBLEM_JSON, ProblemBody};

/// Where the native API lives.
pub(crate) const PREFIX: &str = "/posthaste/v1";

const ABOUT: &str = "\
Events come in, subscriptions route them to targets, deliveries and their attempts say what happened.

Errors are problem documents (RFC 9457) with a stable `code`; their `type` is the path of a page about it. Lists answer \
`{\"items\": [...], \"next\": cursor or null}`, newest first unless `order=asc`; a cursor is opaque and belongs to its list and order. \
What is rare is looked for a little at a time: a page may have fewer items than `limit`, or none, and still a `next`. Only `null` is the end. \
Times are RFC 3339 in UTC. Unknown fields and parameters are refused. Secrets are masked as `********`; sending the mask back keeps the secret.

Send a private key as `Authorization: Bearer KEY` (or as `X-Posthaste-Key`). Each operation names the scope it needs; `admin` holds all.";

/// The operations as they are added.
pub(crate) struct Api {
    router: Router<AppState>,
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
    tags: Vec<(&'static str, &'static str)>,
}

/// One operation, described.
pub(crate) struct Op {
    method: MethodFilter,
    path: &'static str,
    builder: OperationBuilder,
    asks: Asks,
    answers: Vec<(StatusCode, Response)>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// Problems as operations answer them: status, name in the description, meaning.
const PROBLEMS: [(&str, &str, &str); 9] = [
    ("400", "Unreadable", "The query or the body cannot be read."),
    ("401", "KeyNeeded", "There is no key, or it is not known."),
    ("403", "ScopeNeeded", "The key lacks the scope."),
    ("404", "NotFound", "There is no such resource in the key's workspace."),
    ("412", "Changed", "The resource has changed."),
    ("413", "TooLarge", "The body is too large."),
    ("415", "NotJson", "The body is not said to be JSON."),
    ("422", "Unusable", "A field is unknown, missing, or has a value that cannot be used."),
    ("default", "Other", "Any other problem: see `code`."),
];

/// What an operation reads, and so what it may find wrong.
#[derive(Clone, Copy, Default)]
struct Asks {
    query: bool,
    body: bool,
    version: bool,
}

impl Asks {
    /// Status and name of the problems that an operation with this path may answer.
    fn refusals(self, path: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
        let has_id = path.contains('{');
        PROBLEMS.iter().map(|(status, name, _)| (*status, *name)).filter(move |(status, _)| match *status {
            "400" => self.query || self.body,
            "404" => has_id,
            "412" => self.version,
            "413" | "415" | "422" => self.body,
            _ => true,
        })
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        let mut api = Self { router: Router::new(), paths: PathsBuilder::new().build(), schemas: Vec::new(), tags: Vec::new() };
        api.schemas.push((ProblemBody::name().into_owned(), ProblemBody::schema()));
        api.schemas.push((FieldProblem::name().into_owned(), FieldProblem::schema()));
        api
    }

    /// Begins a group of operations.
    pub(crate) fn tag(&mut self, name: &'static str, about: &'static str) {
        self.tags.push((name, about));
    }

    /// Adds an operation to the group that began last.
    pub(crate) fn add<H: Handler<T, AppState>, T: 'static>(&mut self, op: Op, handler: H) {
        let tag = self.tags.last().map(|(name, _)| *name).expect("a group has begun");
        let Op { method, path, builder, asks, answers, schemas } = op;
        self.schemas.extend(schemas);
        let mut builder = builder.tag(tag);
        for (status, name) in asks.refusals(path) {
            builder = builder.response(status, Ref::from_response_name(name));
        }
        for (status, answer) in answers {
            builder = builder.response(status.as_str(), answer);
        }
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
            builder = builder.parameter(parameter.schema(Some(text())).build());
        }
        let item = PathItem::new(http_method(method), builder.build());
        let full = format!("{PREFIX}{path}");
        match self.paths.paths.get_mut(&full) {
            Some(known) => known.merge_operations(item),
            None => drop(self.paths.paths.insert(full.clone(), item)),
        }
        let route: MethodRouter<AppState> = on(method, handler);
        self.router = std::mem::take(&mut self.router).route(&full, route);
    }

    /// The router and the description.
    pub(crate) fn finish(self) -> (Router<AppState>, OpenApi) {
        let mut components = ComponentsBuilder::new();
        let mut schemas = self.schemas;
        schemas.sort_by(|a, b| a.0.cmp(&b.0));
        schemas.dedup_by(|a, b| a.0 == b.0);
        for (name, schema) in schemas {
            components = components.schema(name, schema);
        }
        for (_, name, about) in PROBLEMS {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
            components = components.response(name, ResponseBuilder::new().description(about).content(PROBLEM_JSON, content).build());
        }
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A private key.")).build();
        let info = InfoBuilder::new()
            .title("Posthaste")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(ABOUT))
            .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
            .build();
        let tags = self.tags.iter().map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build());
        let document = OpenApiBuilder::new()
            .info(info)
            .paths(self.paths)
            .components(Some(components.security_scheme("key", SecurityScheme::Http(bearer)).build()))
            .tags(Some(tags.collect::<Vec<_>>()))
            .build();
        (self.router, document)
    }
}

impl Op {
    /// An operation at a path below [`PREFIX`].
    pub(crate) fn new(method: MethodFilter, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        let builder = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        Self { method, path, builder, asks: Asks::default(), answers: Vec::new(), schemas: Vec::new() }
    }

    pub(crate) fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(MethodFilter::GET, path, id, summary)
    }

    pub(crate) fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(MethodFilter::POST, path, id, summary)
    }

    pub(crate) fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(MethodFilter::DELETE, path, id, summary)
    }

    /// The scope that a key needs. Must be the one of the handler's extractor; a test asks every route.
    pub(crate) fn scope(mut self, scope: Scope) -> Self {
        self.builder = self.builder.security(SecurityRequirement::new("key", [scope_name(scope)]));
        self
    }

    /// Longer words about it.
    pub(crate) fn about(mut self, text: &'static str) -> Self {
        self.builder = self.builder.description(Some(text));
        self
    }

    /// The query parameters that its handler reads.
    pub(crate) fn query(mut self, tables: &[&[Param]]) -> Self {
        self.asks.query = true;
        for param in tables.iter().copied().flatten() {
            let schema = match param.kind {
                ParamKind::Text => text(),
                ParamKind::OneOf(words) => {
                    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).build().into()
                }
                ParamKind::Count(most) => {
                    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most)).build().into()
                }
                ParamKind::Flag => ObjectBuilder::new().schema_type(Type::Boolean).build().into(),
                ParamKind::Time => ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
                    .build()
                    .into(),
                ParamKind::Length => ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+(ms|s|m|h|d)?$")).build().into(),
            };
            self.builder = self.builder.parameter(parameter(param.name, ParameterIn::Query, param.about, schema));
        }
        self
    }

    /// A request header that its handler reads.
    pub(crate) fn header(mut self, name: &'static str, about: &'static str) -> Self {
        self.builder = self.builder.parameter(parameter(name, ParameterIn::Header, about, text()));
        self
    }

    /// The `If-Match` header, with which a client refuses to overwrite what it has not read.
    pub(crate) fn if_match(mut self) -> Self {
        self.asks.version = true;
        self.header("If-Match", "The `ETag` that was read.")
    }

    /// The JSON body: a merge patch of what `T` describes, so that no field must be there.
    pub(crate) fn patch_body<T: ToSchema>(mut self) -> Self {
        let name = format!("{}Patch", T::name().strip_suffix("Input").unwrap_or(&T::name()));
        T::schemas(&mut self.schemas);
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
            object.description = Some("The fields to change; null takes a field away.".into());
        }
        self.schemas.push((name.clone(), schema));
        self.json_body(RefOr::Ref(Ref::from_schema_name(name)), Required::True)
    }

    /// The JSON body.
    pub(crate) fn body<T: ToSchema>(self) -> Self {
        let schema = RefOr::Ref(Ref::from_schema_name(T::name()));
        self.learn::<T>().json_body(schema, Required::True)
    }

    /// A JSON body that may be left out.
    pub(crate) fn optional_body<T: ToSchema>(self) -> Self {
        let schema = RefOr::Ref(Ref::from_schema_name(T::name()));
        self.learn::<T>().json_body(schema, Required::False)
    }

    /// A JSON body that is one of a thing or a list of them.
    pub(crate) fn one_or_many_body<T: ToSchema>(self) -> Self {
        let one = Ref::from_schema_name(T::name());
        let schema: Schema = OneOfBuilder::new().item(one.clone()).item(ArrayBuilder::new().items(one).build()).build().into();
        self.learn::<T>().json_body(RefOr::T(schema), Required::True)
    }

    fn json_body(mut self, schema: RefOr<Schema>, required: Required) -> Self {
        self.asks.body = true;
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.builder = self
            .builder
            .request_body(Some(RequestBodyBuilder::new().content("application/json", content).required(Some(required)).build()));
        self
    }

    /// Answers with a JSON document.
    pub(crate) fn answer<T: ToSchema>(self, status: StatusCode, about: &'static str) -> Self {
        let schema = RefOr::Ref(Ref::from_schema_name(T::name()));
        self.learn::<T>().answer_with(status, about, "application/json", Some(schema))
    }

    /// Answers with a page of a list.
    pub(crate) fn page_of<T: ToSchema>(self) -> Self {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name())).build();
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Cursor of the next page, also after a page with few items or none; null at the end."))
            .build();
        let page = ObjectBuilder::new().property("items", items).required("items").property("next", next).required("next").build();
        self.learn::<T>().answer_with(StatusCode::OK, "A page of the list.", "application/json", Some(RefOr::T(page.into())))
    }

    /// Answers without a body.
    pub(crate) fn empty(self, status: StatusCode, about: &'static str) -> Self {
        self.answer_with(status, about, "", None)
    }

    /// Answers with a body of another type.
    pub(crate) fn other(self, status: StatusCode, about: &'static str, media: &'static str) -> Self {
        self.answer_with(status, about, media, Some(text()))
    }

    fn answer_with(mut self, status: StatusCode, about: &'static str, media: &'static str, schema: Option<RefOr<Schema>>) -> Self {
        let mut response = ResponseBuilder::new().description(about);
        if let Some(schema) = schema {
            response = response.content(media, ContentBuilder::new().schema(Some(schema)).build());
        }
        self.answers.push((status, response.build()));
        self
    }

    fn learn<T: ToSchema>(mut self) -> Self {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        self
    }
}

fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}

fn parameter(name: &str, place: ParameterIn, about: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new().name(name).parameter_in(place).required(Required::False).description(Some(about)).schema(Some(schema)).build()
}

fn http_method(filter: MethodFilter) -> HttpMethod {
    match filter {
        MethodFilter::POST => HttpMethod::Post,
        MethodFilter::PUT => HttpMethod::Put,
        MethodFilter::PATCH => HttpMethod::Patch,
        MethodFilter::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
