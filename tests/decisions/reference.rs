//! The real kube-scheduler, run against a server of ours, and what it writes of its decisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::{env, io};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// By node, then by rule.
pub type Scores = BTreeMap<String, BTreeMap<String, i64>>;

/// The scores of one pod, as far as they were written.
#[derive(Debug, Default, Clone)]
pub struct Written {
    pub by_rule: Scores,
    /// The sum, by node.
    pub total: BTreeMap<String, i64>,
}

/// The log, as far as it was read: what it says of each pod, by `namespace/name`.
#[derive(Default)]
pub struct Log {
    pods: Mutex<BTreeMap<String, Written>>,
    more: Notify,
}

/// The running scheduler; it is killed when dropped.
pub struct Scheduler {
    pub log: Arc<Log>,
    _process: Child,
    _reading: JoinSet<()>,
}

/// The binary, if it was built.
pub fn binary() -> Option<PathBuf> {
    let cache = env::var_os("CORACLE_REFERENCE").map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
        env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("coracle-reference")
    });
    Some(cache.join("bin/kube-scheduler")).filter(|binary| binary.exists())
}

impl Scheduler {
    /// Starts `binary` with every node scored, nothing preempted, and `extender` asked.
    pub fn start(binary: &Path, directory: &Path, kubeconfig: &Path, extender: &str) -> io::Result<Self> {
        let configuration = directory.join("scheduler.yaml");
        std::fs::write(&configuration, configure(kubeconfig, extender))?;
        let mut process = Command::new(binary)
            .arg("--config")
            .arg(&configuration)
            // Batching takes over what it found for the pod before.
            .args(["--secure-port=0", "--feature-gates=OpportunisticBatching=false"])
            .args(["--v=0", "--vmodule=schedule_one=10"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = Arc::new(Log::default());
        let mut reading = JoinSet::new();
        if let Some(lines) = process.stderr.take() {
            reading.spawn(read(lines, log.clone()));
        }
        Ok(Self { log, _process: process, _reading: reading })
    }
}

fn configure(kubeconfig: &Path, extender: &str) -> String {
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\n\
         kind: KubeSchedulerConfiguration\n\
         percentageOfNodesToScore: 100\n\
         leaderElection: {{leaderElect: false}}\n\
         clientConnection: {{kubeconfig: {}, qps: 10000, burst: 10000}}\n\
         profiles:\n\
         - schedulerName: default-scheduler\n  \
           plugins: {{postFilter: {{disabled: [{{name: '*'}}]}}}}\n\
         extenders:\n\
         - {{urlPrefix: 'http://{extender}/', filterVerb: filter, nodeCacheCapable: true}}\n",
        kubeconfig.display()
    )
}

impl Log {
    /// What was written of `pod`, once it has the sums of `nodes` nodes.
    pub async fn scores(&self, pod: &str, nodes: usize) -> Written {
        loop {
            let more = self.more.notified();
            if let Some(written) = self.pods.lock().await.get(pod)
                && written.total.len() >= nodes
            {
                return written.clone();
            }
            more.await;
        }
    }

    async fn take(&self, line: &str) {
        let Some((pod, node, score)) =
            field(line, "pod").zip(field(line, "node")).zip(number(line)).map(flat)
        else {
            return;
        };
        let mut pods = self.pods.lock().await;
        let written = pods.entry(pod.to_owned()).or_default();
        if line.contains("] \"Plugin scored node for pod\"")
            && let Some(rule) = field(line, "plugin")
        {
            written.by_rule.entry(node.to_owned()).or_default().insert(rule.to_owned(), score);
        } else if line.contains("] \"Calculated node's final score for pod\"") {
            written.total.insert(node.to_owned(), score);
            self.more.notify_waiters();
        }
    }
}

fn flat<A, B, C>(((a, b), c): ((A, B), C)) -> (A, B, C) {
    (a, b, c)
}

async fn read(lines: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(lines).lines();
    let loud = env::var_os("CORACLE_DECISIONS_LOG").is_some();
    while let Ok(Some(line)) = lines.next_line().await {
        if loud || line.starts_with('E') || line.starts_with("Error") {
            eprintln!("kube-scheduler: {line}");
        }
        log.take(&line).await;
    }
}

/// The text of ` name="text"` in a line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

fn number(line: &str) -> Option<i64> {
    line.split_once(" score=")?.1.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn a_log_is_read() {
    let log = Log::default();
    for line in [
        r#"I1124 09:29:37.421039   18739 schedule_one.go:984] "Plugin scored node for pod" pod="default/a" plugin="TaintToleration" node="node-1" score=300"#,
        r#"I1124 09:29:37.421213   18739 schedule_one.go:1018] "Extender scored node for pod" pod="default/a" extender="http://127.0.0.1:1/" node="node-1" score=0"#,
        r#"I1124 09:29:37.421268   18739 schedule_one.go:1052] "Calculated node's final score for pod" pod="default/a" node="node-1" score=399"#,
    ] {
        log.take(line).await;
    }
    let written = log.scores("default/a", 1).await;
    assert_eq!(written.by_rule["node-1"], BTreeMap::from([("TaintToleration".to_owned(), 300)]));
    assert_eq!(written.total, BTreeMap::from([("node-1".to_owned(), 399)]));
}
