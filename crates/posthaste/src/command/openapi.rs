//! `posthaste openapi`: the description of the native API.

use crate::failure::Failure;

/// Prints the OpenAPI 3.1 document of the native API.
#[derive(Debug, clap::Args)]
pub struct Openapi {}

impl Openapi {
    /// Runs it.
    pub fn run(self) -> Result<(), Failure> {
        crate::term::say(posthaste_server::openapi_json().trim_end());
        Ok(())
    }
}
