//! One kubectl at work.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(90);

/// One command, and what it must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The arguments, as in a shell without quotes; `{ns}` is the session's namespace.
    run: String,
    /// What it reads.
    stdin: Option<String>,
    /// What edits the file that kubectl gives to the editor.
    editor: Option<String>,
    /// How it ends.
    #[serde(default)]
    exit: i32,
    /// What its output, standard or error, has somewhere; `{ns}` as above.
    #[serde(default)]
    out: Vec<String>,
    /// What its output must not have.
    #[serde(default)]
    not: Vec<String>,
    /// It never ends: it is stopped once every text of `out` came.
    #[serde(default)]
    watch: bool,
    /// It is tried again, for a while, until it says so.
    #[serde(default)]
    eventually: bool,
}

impl Step {
    /// Reads a session.
    ///
    /// # Errors
    /// When the file is not one.
    pub fn load(path: &Path) -> Result<Vec<Self>, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text)
    }

    /// Reads steps from YAML.
    ///
    /// # Errors
    /// When it is not a list of steps.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
    }
}

/// A kubectl, a server, and a namespace.
pub struct Session {
    binary: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    namespace: String,
}

impl Session {
    /// The session with this number, whose kubectl keeps its caches in `directory`.
    pub fn new(binary: &Path, kubeconfig: &Path, directory: &Path, number: usize) -> Self {
        Self {
            binary: binary.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: directory.join(format!("home-{number}")),
            namespace: format!("session-{number}"),
        }
    }

    /// Takes the steps in order.
    ///
    /// # Errors
    /// At the first that does not go as it must: the command, and what it said.
    pub async fn run(&self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let began = tokio::time::Instant::now();
            loop {
                let outcome = tokio::time::timeout(PATIENCE, self.step(step))
                    .await
                    .unwrap_or_else(|_| Err(format!("nothing came of it in {PATIENCE:?}")));
                match outcome {
                    Ok(()) => break,
                    Err(_) if step.eventually && began.elapsed() < PATIENCE => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Err(failure) => {
                        return Err(format!("{} {}\n{failure}", self.name(), self.named(&step.run)));
                    }
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn named(&self, text: &str) -> String {
        text.replace("{ns}", &self.namespace)
    }

    async fn step(&self, step: &Step) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command
            .args(["--kubeconfig".as_ref(), self.kubeconfig.as_os_str(), "--namespace".as_ref()])
            .arg(&self.namespace)
            .args(self.named(&step.run).split_whitespace())
            .env("HOME", &self.home)
            .env("KUBE_EDITOR", step.editor.as_deref().unwrap_or("false"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read has its own reasons, and tells them.
            let _ = stdin.write_all(self.named(step.stdin.as_deref().unwrap_or_default()).as_bytes()).await;
        }
        if step.watch {
            return self.watch(step, child).await;
        }
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let code = output.status.code();
        if code != Some(step.exit) {
            return Err(format!("ended with {code:?}, not {}; it said\n{said}", step.exit));
        }
        if let Some(missing) = step.out.iter().find(|text| !said.contains(&self.named(text))) {
            return Err(format!("{missing:?} is not in what it said:\n{said}"));
        }
        match step.not.iter().find(|text| said.contains(&self.named(text))) {
            Some(found) => Err(format!("{found:?} is in what it said:\n{said}")),
            None => Ok(()),
        }
    }

    async fn watch(&self, step: &Step, mut child: tokio::process::Child) -> Result<(), String> {
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut said = String::new();
        while !step.out.iter().all(|text| said.contains(&self.named(text))) {
            match lines.next_line().await {
                Ok(Some(line)) => said.extend([line.as_str(), "\n"]),
                _ => return Err(format!("it ended too early; it said\n{said}")),
            }
        }
        child.kill().await.map_err(|error| error.to_string())
    }
}
