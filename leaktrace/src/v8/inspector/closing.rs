//! Closes an inspector that we opened, so that the process is as it was before.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{client::Client, error::InspectorError, opening::Inspector, sockets};

const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Closing an inspector blocks the process until every client has let go (measured: with a client that does not, its
/// event loop stands still for ever). So it is only asked to do so a moment later, when we are gone; the timer does
/// not keep a process alive that wants to end.
const CLOSE: &str = "setTimeout(process._debugEnd, 50).unref(), 0";

/// Lets go of the inspector, and closes it where we opened it. The error says why it stays open.
pub(super) async fn close(mut client: Client, inspector: &Inspector) -> Result<(), InspectorError> {
    if !inspector.opened_by_us {
        client.close().await;
        return Ok(());
    }
    if has_other_clients(inspector) {
        client.close().await;
        let why = "another debugger is connected to it, which it would wait for".to_owned();
        return Err(InspectorError::Refused(why));
    }
    let params = json!({ "expression": CLOSE, "silent": true });
    // A snapshot that was interrupted still comes, and must be taken before there is an answer.
    let asked = client.call_streaming("Runtime.evaluate", params, PATIENCE, |_| Ok(())).await;
    client.close().await;
    match asked {
        // The process has ended, or somebody else has closed it.
        Err(InspectorError::Closed) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => wait_until_closed(inspector).await,
    }
}

/// Connections to it beside our own.
fn has_other_clients(inspector: &Inspector) -> bool {
    sockets::own_connections(inspector.pid, inspector.address.port()).is_ok_and(|count| count > 1)
}

async fn wait_until_closed(inspector: &Inspector) -> Result<(), InspectorError> {
    let port = inspector.address.port();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listeners = sockets::listeners(inspector.pid);
        let is_open =
            listeners.is_ok_and(|all| all.iter().any(|one| one.is_own && one.address.port() == port));
        if !is_open {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why =
                "it was asked to close, and will when the process comes back to its event loop".to_owned();
            return Err(InspectorError::NotOpened(why));
        }
        sleep(LOOK_EVERY).await;
    }
}
