//! One failure, told to several.

use std::sync::Arc;

use crate::StoreError;

/// Tells one failure to several callers.
pub(crate) fn teller(error: StoreError) -> impl Fn() -> StoreError {
    type Source = Arc<dyn std::error::Error + Send + Sync>;
    enum Told {
        Full(Source),
        File(String, Source),
        Unavailable(Source),
        Fenced,
        Repeated,
        Other(Source),
    }
    let told = match error {
        StoreError::Full(source) => Told::Full(source.into()),
        StoreError::File { file, source } => Told::File(file, source.into()),
        StoreError::Unavailable(source) => Told::Unavailable(source.into()),
        StoreError::Fenced => Told::Fenced,
        StoreError::Repeated => Told::Repeated,
        StoreError::Engine(source) => Told::Other(source.into()),
        other => Told::Other(Arc::new(other)),
    };
    move || match &told {
        Told::Full(source) => StoreError::Full(Box::new(source.clone())),
        Told::File(file, source) => StoreError::File { file: file.clone(), source: Box::new(source.clone()) },
        Told::Unavailable(source) => StoreError::Unavailable(Box::new(source.clone())),
        Told::Fenced => StoreError::Fenced,
        Told::Repeated => StoreError::Repeated,
        Told::Other(source) => StoreError::Engine(Box::new(source.clone())),
    }
}
