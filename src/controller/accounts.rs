//! Follows the accounts file: reads it periodically, and applies each valid change.
//!
//! The file is polled, not watched: a mounted ConfigMap changes by a swap of symlinks, which a watch of the file does
//! not see.

use std::{fmt, fs::File, io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tracing::{error, info};

use super::context::Context;
use crate::amplify::Accounts;

/// How often the file is read. A change must take effect within 15 s.
const INTERVAL: Duration = Duration::from_secs(5);
/// Largest file that is read. A ConfigMap holds at most 1 MiB.
const LIMIT: u64 = 1024 * 1024;

/// The text of the file, or why it cannot be read.
type Text = Result<String, String>;

/// The accounts file, with its text at the last read.
pub struct AccountsFile {
    name: String,
    read: Box<dyn Fn() -> BoxFuture<'static, Text> + Send + Sync>,
    /// The regions that a setting allows besides the known ones.
    allowed_regions: Vec<String>,
    /// `None`: it could not be read, or was invalid.
    seen: Option<String>,
    complaint: Option<String>,
}

impl fmt::Debug for AccountsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountsFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl AccountsFile {
    /// Makes a file at this path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let name = path.display().to_string();
        Self::of(name, move || {
            let path = path.clone();
            // The file may be on a network, and a read may take long.
            let read = tokio::task::spawn_blocking(move || read(&path));
            read.map(|read| read.unwrap_or_else(|error| Err(error.to_string())))
                .boxed()
        })
    }

    /// Makes a file of this name that is read with this function.
    pub fn of(name: String, read: impl Fn() -> BoxFuture<'static, Text> + Send + Sync + 'static) -> Self {
        Self {
            name,
            read: Box::new(read),
            allowed_regions: Vec::new(),
            seen: None,
            complaint: None,
        }
    }

    /// Makes the file accept these regions besides the known ones.
    #[must_use]
    pub fn allowing(mut self, regions: Vec<String>) -> Self {
        self.allowed_regions = regions;
        self
    }

    /// Reads the file for the first time. It must be valid.
    pub async fn open(mut self) -> Result<(Self, Accounts), String> {
        match self.news().await {
            Some(Ok(accounts)) => Ok((self, accounts)),
            Some(Err(complaint)) => Err(complaint),
            None => Err("the accounts file cannot be read".to_owned()),
        }
    }

    /// Returns the new content, or the problem with it. `None`: nothing has changed.
    async fn news(&mut self) -> Option<Result<Accounts, String>> {
        let text = (self.read)().await;
        if self.seen.is_some() && text.as_ref().ok() == self.seen.as_ref() {
            return None;
        }
        let read = text.and_then(|text| match Accounts::parse(&text, &self.allowed_regions) {
            Ok(accounts) => Ok((text, accounts)),
            Err(invalid) => Err(invalid.to_string()),
        });
        match read {
            Ok((text, accounts)) => {
                self.seen = Some(text);
                self.complaint = None;
                Some(Ok(accounts))
            }
            Err(why) => {
                let complaint = format!("the accounts file {}: {why}", self.name);
                self.seen = None;
                let known = self.complaint.replace(complaint.clone());
                (known.as_ref() != Some(&complaint)).then_some(Err(complaint))
            }
        }
    }
}

fn read(path: &PathBuf) -> Text {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(LIMIT + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 > LIMIT => Err("it is larger than 1 MiB".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// Follows the file until the operator ends. An invalid file changes nothing: the last valid one stays in force.
pub async fn follow(context: Arc<Context>, mut file: AccountsFile) {
    context.metrics.set_accounts_file_valid(true);
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        match file.news().await {
            None => {}
            Some(Ok(accounts)) => {
                let entries = accounts.len();
                let namespaces = context.set_accounts(accounts);
                context.metrics.set_accounts_file_valid(true);
                info!(
                    entries,
                    namespaces, "the accounts file has changed; this is how many namespaces it affects"
                );
            }
            Some(Err(complaint)) => {
                context.metrics.set_accounts_file_valid(false);
                error!("{complaint}; the previous content stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(path: &std::path::Path) -> Result<(AccountsFile, Accounts), String> {
        AccountsFile::at(path.to_owned()).open().await
    }

    #[tokio::test]
    async fn a_file_is_news_once_and_a_wrong_one_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.yaml");
        assert!(opened(&path).await.unwrap_err().contains("accounts.yaml"));
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("accounts: [");
        assert!(opened(&path).await.is_err());
        write("accounts: []");
        let (mut file, accounts) = opened(&path).await.unwrap();
        assert!(accounts.is_empty());
        assert!(file.news().await.is_none());
        let one = "accounts: [{name: t, namespaces: [a], roleArn: \"arn:aws:iam::111111111111:role/x\"}]";
        write(one);
        assert_eq!(file.news().await.unwrap().unwrap().len(), 1);
        assert!(file.news().await.is_none());
        write("accounts: nonsense");
        assert!(file.news().await.unwrap().is_err());
        assert!(file.news().await.is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(file.news().await.unwrap().is_err(), "another complaint");
        assert!(file.news().await.is_none());
        write(one);
        assert_eq!(
            file.news().await.unwrap().unwrap().len(),
            1,
            "the last good one again is valid again"
        );
        write(&" ".repeat(usize::try_from(LIMIT).unwrap() + 1));
        assert!(
            file.news()
                .await
                .unwrap()
                .unwrap_err()
                .ends_with("is larger than 1 MiB")
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_swap_of_symlinks_as_the_kubelet_makes_it_is_seen() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, text) in [("..1", "accounts: []"), ("..2", "accounts: [] # edited")] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("accounts.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/accounts.yaml", at("accounts.yaml")).unwrap();
        let (mut file, _) = opened(&at("accounts.yaml")).await.unwrap();
        symlink("..2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(file.news().await.is_some_and(|news| news.is_ok()));
    }
}
