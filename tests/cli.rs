//! The `coracle` command, as people and scripts use it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use rustix::process::{Pid, Signal, kill_process};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A home of its own for everything that the command finds by itself.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> std::io::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path(".local/share/coracle")
    }

    fn coracle(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(arguments).env_clear().env("HOME", self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> std::io::Result<Output> {
        self.coracle(arguments).output()
    }

    /// `coracle up` with these arguments, which must become ready.
    fn up(&self, arguments: &[&str]) -> Result<Up, String> {
        let mut command = self.coracle(&["up", "--listen", "127.0.0.1:0"]);
        Up::start(command.args(arguments))
    }
}

/// A `coracle up` that is ready. Dropped, it is killed.
struct Up {
    child: Child,
    url: String,
    kubeconfig: PathBuf,
}

impl Up {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        let mut up = Self { child, url: String::new(), kubeconfig: PathBuf::new() };
        match (read, line.trim_end().splitn(3, ' ').collect::<Vec<_>>().as_slice()) {
            (Ok(_), ["ready", url, kubeconfig]) => {
                up.url = (*url).to_owned();
                up.kubeconfig = kubeconfig.into();
                Ok(up)
            }
            (read, _) => {
                let _ = up.child.kill();
                Err(format!("it said {line:?} ({read:?}) and {:?}", up.said()))
            }
        }
    }

    /// What it said on its standard error, once it has ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    }

    fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }

    /// Sends a signal, waits for the end, and returns what was said on the way.
    fn end(mut self, signal: Signal) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).ok_or("no process")?;
        let began = Instant::now();
        kill_process(pid, signal)?;
        let status = self.child.wait()?;
        assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
        assert_eq!(status.success(), signal != Signal::KILL, "{status}");
        Ok(self.said())
    }

    async fn maps(&self) -> Result<Api<ConfigMap>, Box<dyn std::error::Error + Send + Sync>> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Api::default_namespaced(Client::try_from(config)?))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

/// Runs to the end, and must say all of `expected` on the stream that fits how it ends.
fn check(mut command: Command, success: bool, expected: &[&str]) -> Outcome {
    let output = command.output()?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.success(), success, "{command:?}: {stdout}{stderr}");
    let said = if success { &stdout } else { &stderr };
    for text in expected {
        assert!(said.contains(text), "{command:?}: {text:?} is not in {said:?}");
    }
    if !success {
        assert_eq!(stderr.trim_end().lines().count(), 1, "{command:?}: {stderr}");
    }
    Ok(())
}

#[test]
fn words_and_scripts() -> Outcome {
    let home = Home::new()?;
    check(home.coracle(&["version"]), true, &[env!("CARGO_PKG_VERSION"), "Kubernetes v1.37"])?;
    check(home.coracle(&["--version"]), true, &[env!("CARGO_PKG_VERSION")])?;
    check(home.coracle(&["--help"]), true, &["up", "status", "kubeconfig", "down", "version", "completion"])?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        check(home.coracle(&["completion", shell]), true, &["coracle", "kubeconfig"])?;
    }
    let wrong = home.run(&["up", "--no-such-flag"])?;
    assert_eq!(wrong.status.code(), Some(2));
    check(home.coracle(&["up", "--controllers=*,-nothing"]), false, &["--controllers", "nothing"])?;
    Ok(())
}

#[test]
fn where_nothing_runs() -> Outcome {
    let home = Home::new()?;
    check(home.coracle(&["status"]), false, &["no cluster runs on", ".local/share/coracle"])?;
    check(home.coracle(&["down"]), false, &["no cluster runs on"])?;
    check(home.coracle(&["kubeconfig"]), false, &["kubeconfig"])?;
    check(home.coracle(&["down", "--purge"]), true, &[])?;
    // Looking makes nothing.
    assert!(!home.path(".local").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_it() -> Outcome {
    let home = Home::new()?;
    let up = home.up(&[])?;
    assert_eq!(up.kubeconfig, home.data().canonicalize()?.join("kubeconfig"));
    up.maps().await?.create(&PostParams::default(), &map("kept")).await?;
    let pid = up.child.id().to_string();
    check(home.coracle(&["status"]), true, &["running", &pid, &up.url, ".local/share/coracle"])?;
    let printed = home.run(&["kubeconfig"])?;
    assert_eq!(text(&printed.stdout), std::fs::read_to_string(&up.kubeconfig)?);
    // What kubectl reads has the context, too.
    let merged = std::fs::read_to_string(home.path(".kube/config"))?;
    assert!(merged.contains("current-context: coracle") && merged.contains(&up.url), "{merged}");

    // Nobody else's may be read: there are keys in it.
    for file in [up.kubeconfig.clone(), home.path(".kube/config"), home.data().join("pki/ca.key")] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o077, 0, "{}", file.display());
    }

    let said = up.end(Signal::TERM)?;
    for text in ["coracle ", "data", "API", "kubectl", "stopping"] {
        assert!(said.contains(text), "{text:?} is not in {said:?}");
    }
    check(home.coracle(&["status"]), false, &["no cluster runs on"])?;

    // It comes back with everything, and the old kubeconfig's certificates still serve.
    let authority = std::fs::read(home.data().join("pki/ca.crt"))?;
    let up = home.up(&[])?;
    assert_eq!(std::fs::read(home.data().join("pki/ca.crt"))?, authority);
    assert!(up.maps().await?.get_opt("kept").await?.is_some());

    let mut up = up;
    check(home.coracle(&["down", "--purge"]), true, &[])?;
    assert!(up.child.wait()?.success());
    assert!(!home.data().exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_interrupted() -> Outcome {
    let home = Home::new()?;
    for (signal, name) in [(Signal::KILL, "a"), (Signal::INT, "b"), (Signal::TERM, "c")] {
        let up = home.up(&[])?;
        up.maps().await?.create(&PostParams::default(), &map(name)).await?;
        up.end(signal)?;
        check(home.coracle(&["status"]), false, &["no cluster runs on"])?;
    }
    let up = home.up(&[])?;
    for name in ["a", "b", "c"] {
        assert!(up.maps().await?.get_opt(name).await?.is_some(), "{name}");
    }
    Ok(())
}

#[test]
fn one_cluster_on_a_directory_and_a_port() -> Outcome {
    let home = Home::new()?;
    let up = home.up(&[])?;
    let holder = format!("process {}", up.child.id());
    for store in ["durable", "memory"] {
        let second = home.coracle(&["up", "--listen", "127.0.0.1:0", "--store", store]);
        check(second, false, &["is in use by", &holder, ".local/share/coracle"])?;
    }
    let address = format!("127.0.0.1:{}", up.port());
    let elsewhere = home.path("elsewhere");
    let elsewhere = elsewhere.to_string_lossy();
    let second = home.coracle(&["up", "--listen", &address, "--data-dir", &elsewhere]);
    check(second, false, &["cannot listen at", &address, &holder, "coracle"])?;
    // They did no harm to the first.
    check(home.coracle(&["status"]), true, &[&up.url])?;
    up.end(Signal::TERM)?;

    // A port that something else has.
    let other = TcpListener::bind(("127.0.0.1", 0))?;
    let address = other.local_addr()?.to_string();
    let holder = format!("process {}", std::process::id());
    check(home.coracle(&["up", "--listen", &address]), false, &["cannot listen at", &address, &holder])?;
    Ok(())
}

#[test]
fn kubeconfigs() -> Outcome {
    let home = Home::new()?;
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster:\n    server: https://work\ncontexts:\n- name: work\n  context:\n    cluster: work\n    user: me\nusers:\n- name: me\n  user:\n    token: t\n";
    let mine = home.path("mine");
    std::fs::write(&mine, theirs)?;
    // The first of KUBECONFIG's files is what kubectl writes to.
    let list = std::env::join_paths([&mine, &home.path("second")])?;
    let up = Up::start(home.coracle(&["up", "--listen", "127.0.0.1:0"]).env("KUBECONFIG", &list))?;
    let merged = Kubeconfig::read_from(&mine)?;
    assert_eq!(merged.current_context.as_deref(), Some("coracle"));
    let names: Vec<_> = merged.contexts.iter().map(|context| context.name.as_str()).collect();
    assert_eq!(names, ["work", "coracle"]);
    assert!(!home.path("second").exists() && !home.path(".kube").exists());
    up.end(Signal::TERM)?;

    // --kubeconfig: there, and merged nowhere.
    std::fs::write(&mine, theirs)?;
    let own = home.path("deep/own");
    let own_text = own.to_string_lossy();
    let mut command = home.coracle(&["up", "--listen", "127.0.0.1:0", "--kubeconfig", &own_text]);
    let up = Up::start(command.env("KUBECONFIG", &list))?;
    assert_eq!(up.kubeconfig, own);
    assert_eq!(std::fs::read_to_string(&mine)?, theirs);
    let printed = home.run(&["kubeconfig"])?;
    assert_eq!(text(&printed.stdout), std::fs::read_to_string(&own)?);
    up.end(Signal::TERM)?;

    // One that is no kubeconfig is left alone, and is no reason not to run.
    std::fs::write(&mine, "- no\n")?;
    let up = Up::start(home.coracle(&["up", "--listen", "127.0.0.1:0"]).env("KUBECONFIG", &list))?;
    let said = up.end(Signal::TERM)?;
    assert!(said.contains("is not a kubeconfig"), "{said}");
    assert_eq!(std::fs::read_to_string(&mine)?, "- no\n");
    Ok(())
}

/// It needs nothing that only root may. As root, another user is tried; else, we are one.
#[test]
fn without_root() -> Outcome {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return Ok(());
    }
    let home = Home::new()?;
    // The user must come to the binary and to the home.
    let binary = home.path("coracle");
    std::fs::copy(env!("CARGO_BIN_EXE_coracle"), &binary)?;
    std::os::unix::fs::chown(home.0.path(), Some(65534), Some(65534))?;
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command.arg(binary).args(["up", "--listen", "127.0.0.1:0"]);
    command.env_clear().env("HOME", home.0.path()).stdin(Stdio::null());
    let up = Up::start(&mut command)?;
    up.end(Signal::TERM)?;
    Ok(())
}

#[tokio::test]
async fn controllers_run_alone() -> Outcome {
    let home = Home::new()?;
    let file = home.path("kubeconfig").display().to_string();
    let up = home.up(&["--store", "memory", "--controllers", "", "--kubeconfig", &file])?;
    let file = up.kubeconfig.display().to_string();
    let alone = ["controllers", "--kubeconfig", &file];
    let odd = [&alone[..], &["--leader-elect-renew-deadline", "1h"]].concat();
    check(home.coracle(&odd), false, &["leaseDuration must be greater than renewDeadline"])?;
    let odd = [&alone[..], &["--controllers", "no-such-controller"]].concat();
    check(home.coracle(&odd), false, &["--controllers: \"no-such-controller\" is not in the list"])?;

    let measured = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let measuring = [&alone[..], &["--metrics-bind-address", &measured]].concat();
    let mut child = home.coracle(&measuring).stderr(Stdio::null()).spawn()?;
    let client = up.maps().await?.into_client();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let made = await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
    let made = tokio::time::timeout(Duration::from_secs(60), made).await;
    let leases: Api<Lease> = Api::namespaced(client, "kube-system");
    let holder = async || -> Result<Option<String>, kube::Error> {
        let lease = leases.get("kube-controller-manager").await?;
        Ok(lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty()))
    };
    let held = holder().await?;
    let page = get(&measured, "/metrics");
    let pid = Pid::from_raw(i32::try_from(child.id())?).ok_or("no process")?;
    kill_process(pid, Signal::TERM)?;
    let status = child.wait()?;
    made??;
    assert!(held.is_some() && status.success(), "{held:?} {status}");
    let leads = "leader_election_master_status{name=\"kube-controller-manager\"} 1\n";
    let page = page?;
    assert!(page.contains(leads) && page.contains("workqueue_adds_total{name=\"serviceaccount\"}"), "{page}");
    assert_eq!(holder().await?, None, "who stops gives it up");
    Ok(())
}

/// What a server answers that speaks plain HTTP.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
