//! The settings that the server runs with: what its operator chose, and what is so by default.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::json;
use super::workspaces::is_operator;
use crate::AppState;
use crate::auth::Admin;
use crate::codes::Code;
use crate::problem::Problem;

/// A setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Setting)]
pub struct EffectiveSetting {
    /// Its name in the configuration file: `section.name`, or `name`.
    pub name: String,
    /// Its value as TOML, passwords blotted out.
    pub value: String,
    /// Whether it is the default.
    pub is_default: bool,
    /// What it does.
    pub about: String,
    /// The environment variable that sets it.
    pub variable: String,
}

/// All settings.
#[derive(Serialize, ToSchema)]
struct Settings {
    /// In the order of the configuration file.
    items: Vec<EffectiveSetting>,
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("settings", "What the server was told by its operator.");
    api.add(
        Op::get("/settings", "listSettings", "List what is in effect")
            .about("Only for administrators of the first workspace. They are changed in the configuration file or the environment, and take effect at the next start.")
            .scope(Scope::Admin)
            .answer::<Settings>(StatusCode::OK, "All settings."),
        list,
    );
}

async fn list(State(state): State<AppState>, Admin(caller): Admin) -> Result<Response, Problem> {
    if !is_operator(&state, &caller) {
        return Err(Problem::new(Code::ScopeMissing, "only administrators of the first workspace see the settings of the server"));
    }
    Ok(json(StatusCode::OK, &Settings { items: state.settings.effective.clone() }))
}
