//! How a database server is made and started: its programs, its folder, its options.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::Kind;

/// A folder that a server of another user can use.
pub(super) fn folder(kind: Kind, parent: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("djaffar-").tempdir_in(parent).unwrap();
    if kind == Kind::Postgres
        && let Some((user, group)) = postgres_user()
    {
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Whom a PostgreSQL runs as where we are root, which it refuses.
pub(super) fn postgres_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag: &str| {
        let said = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout)
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("no user postgres"))
    };
    Some((id("-u"), id("-g")))
}

pub(super) fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = postgres_user() {
        command.uid(user).gid(group);
    }
    command
}

/// A folder with the tables of a new MariaDB.
pub(super) fn make_maria(parent: &Path) -> (TempDir, std::process::Output) {
    let folder = folder(Kind::Maria, parent);
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", folder.path().join("data").display()))
        .arg(format!("--tmpdir={}", folder.path().display()))
        .args(root_option())
        .output()
        .unwrap_or_else(|error| panic!("no MariaDB ({error}): run ./test databases"));
    (folder, made)
}

pub(super) const NO_MYSQL: &str = "no MySQL: run ./test databases";

/// Where `./test` has put a MySQL, with the libraries of its own distribution.
pub(super) fn mysql_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venvs/mysql/root")
}

/// Its server, by the loader that it came with.
pub(super) fn mysqld(root: &Path) -> Command {
    let usr = root.join("usr");
    let libraries = usr.join("lib/x86_64-linux-gnu");
    let option = |name: &str, path: &str| format!("--{name}={}", usr.join(path).display());
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(&libraries).arg(usr.join("sbin/mysqld"));
    command.args(["--no-defaults", "--secure-file-priv=", &option("basedir", "")]);
    command.args([
        &option("lc-messages-dir", "share/mysql"),
        &option("plugin-dir", "lib/mysql/plugin"),
    ]);
    command.arg(option("character-sets-dir", "share/mysql/charsets"));
    command
}

pub(super) fn root_option() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

pub(super) fn spawn(
    kind: Kind,
    programs: &Path,
    folder: &Path,
    port: u16,
    options: &[String],
) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    let data = folder.join("data");
    let mut command = match kind {
        Kind::Postgres => {
            let mut command = as_postgres(&programs.join("postgres"));
            command.arg("-D").arg(data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"]);
            command.arg(folder);
            // In its folder, which is removed when it was killed.
            command.args(["-c", "dynamic_shared_memory_type=mmap"]);
            command
        }
        Kind::Maria | Kind::Mysql => {
            let mut command = match kind {
                Kind::Mysql => mysqld(programs),
                _ => Command::new(programs.join("mariadbd")),
            };
            if kind == Kind::Maria {
                command.arg("--no-defaults");
            } else {
                command.arg("--mysqlx=OFF");
            }
            command.arg(format!("--datadir={}", data.display()));
            // A MariaDB that starts deletes the temporary tables of all others that share its folder.
            command.arg(format!("--tmpdir={}", folder.display()));
            command.args(root_option()).arg(format!("--port={port}"));
            command.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
            command.args(["--character-set-server=utf8mb4", "--innodb-buffer-pool-size=64M"]);
            command.arg(format!("--socket={}", folder.join("socket").display()));
            command.arg(format!("--init-file={}", init_file(folder).display()));
            command.arg(format!("--pid-file={}", folder.join("pid").display()));
            command
        }
    };
    command.args(options).current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Makes the user of the tests.
pub(super) fn init_file(folder: &Path) -> PathBuf {
    let path = folder.join("init.sql");
    // A line for each statement.
    let sql = "CREATE USER IF NOT EXISTS 'site'@'127.0.0.1';\n\
               GRANT ALL ON *.* TO 'site'@'127.0.0.1';\n";
    fs::write(&path, sql).unwrap();
    path
}
