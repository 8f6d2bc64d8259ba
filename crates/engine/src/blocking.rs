//! Work that blocks, from where nothing may: on a thread of the runtime's.

use crate::error::Fault;

/// Runs blocking work on a thread for such.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Fault::Cancelled),
    }
}
