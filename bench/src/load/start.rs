//! A server's beginning, and its rest.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::Command;

use super::create::unique;
use super::{Client, LoadError};
use crate::connection::{Connection, Protocol};
use crate::kubeconfig::Access;
use crate::server::{Server, ServerError};

const PATIENCE: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(1);

/// Starts a server: milliseconds from its process to the first write that it acknowledged, and to `ready`.
///
/// With a `kubeconfig` that is there before (of an earlier start in the same directory) the write is tried
/// from the beginning; without, when the server says that it is ready.
///
/// # Errors
/// When it does not start, or takes no write.
pub async fn start(command: &[String], kubeconfig: Option<&Path>) -> Result<Value, LoadError> {
    let begin = Instant::now();
    let start = async {
        let server = Server::start(launch(command)?, PATIENCE).await?;
        Ok::<_, LoadError>((server, begin.elapsed()))
    };
    let ((server, ready), written) = match kubeconfig.filter(|path| path.exists()) {
        Some(path) => {
            let write = async { write_when_possible(&Access::from_kubeconfig(path)?, begin).await };
            tokio::try_join!(start, write)?
        }
        None => {
            let started = start.await?;
            let access = Access::from_kubeconfig(started.0.kubeconfig())?;
            let written = write_when_possible(&access, begin).await?;
            (started, written)
        }
    };
    server.stop(STOP).await?;
    Ok(json!({ "first_write_ms": written.as_secs_f64() * 1e3, "ready_ms": ready.as_secs_f64() * 1e3 }))
}

/// Starts a server, leaves it alone, and returns the memory that its processes hold.
///
/// # Errors
/// When it does not start.
pub async fn idle(command: &[String], after: Duration) -> Result<Value, LoadError> {
    let server = Server::start(launch(command)?, PATIENCE).await?;
    tokio::time::sleep(after).await;
    let (resident, before) = (server.family().resident(), server.family().cpu());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let cpu = server.family().cpu().saturating_sub(before);
    let processes = server.family().members().len();
    server.stop(STOP).await?;
    Ok(json!({
        "rss_mb": resident as f64 / 1e6,
        "cpu_percent": cpu.as_secs_f64() / 5.0 * 100.0,
        "processes": processes,
    }))
}

pub(super) fn launch(command: &[String]) -> Result<Command, ServerError> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| ServerError::NotReady { program: String::new(), reason: "no command".into() })?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

async fn write_when_possible(access: &Access, begin: Instant) -> Result<Duration, LoadError> {
    let body = Bytes::from(json!({"metadata": {"name": unique()}}).to_string());
    loop {
        let outcome = async {
            let connection = Connection::open(access, Protocol::Http2).await?;
            let mut client = Client::on(access.clone(), Protocol::Http2, connection);
            client.ask("POST", "/api/v1/namespaces/default/configmaps", body.clone()).await
        };
        match outcome.await {
            Ok(_) => return Ok(begin.elapsed()),
            Err(error) if begin.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
