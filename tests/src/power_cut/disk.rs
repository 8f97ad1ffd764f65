//! A pessimistic POSIX disk: what a file holds after a power cut is what it held when its last fsync began, and a name is there when its
//! folder was synced after it was made. What was not synced may be there all the same: each change or not, in any order, writes torn at
//! sectors. This file may not know what the files mean.
//!
//! As in POSIX, a sync of a file says nothing of its name, and a sync of a folder nothing of what its files hold. Times and modes are not
//! kept. fdatasync is taken as fsync: it must keep what is needed to read the data, and length is all the metadata that is looked at here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::log::{Kind, Record};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Which syncs the disk only pretends to do: the controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    None,
    /// As with `PRAGMA synchronous = OFF`.
    DatabaseFiles,
    /// As without the fsync of a blob's bytes.
    BlobFiles,
    /// As without the fsync of the folder that a blob's name is in.
    BlobFolders,
}

impl Lie {
    fn covers(self, path: &str, is_folder: bool) -> bool {
        match self {
            Self::None => false,
            Self::DatabaseFiles => !is_folder && path.contains(".sqlite"),
            Self::BlobFiles => !is_folder && path.contains("/blobs/"),
            Self::BlobFolders => is_folder && path.contains("/blobs/"),
        }
    }
}

/// What becomes of the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// Drawn from this seed, for each file and folder: none, the first few, any of them, or all survive; writes may be torn.
    Drawn(u64),
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed draws the same numbers everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[allow(clippy::should_implement_trait, reason = "it never ends and is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

trait Change: Sized {
    type State: Clone;
    fn apply(&self, state: &mut Self::State);
    /// Applies what is left of it when the power goes in the middle.
    fn apply_torn(&self, state: &mut Self::State, dice: &mut Dice);
}

#[derive(Debug)]
enum FileChange {
    Write { at: u64, bytes: Bytes },
    Truncate(u64),
    Allocate(u64),
}

fn write(state: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if state.len() < at + bytes.len() {
        state.resize(at + bytes.len(), 0);
    }
    state[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Change for FileChange {
    type State = Vec<u8>;

    fn apply(&self, state: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write(state, *at, bytes),
            Self::Truncate(length) => state.resize(usize::try_from(*length).unwrap(), 0),
            Self::Allocate(length) => state.resize(state.len().max(usize::try_from(*length).unwrap()), 0),
        }
    }

    fn apply_torn(&self, state: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { at, bytes } = self else {
            return;
        };
        let mut done = 0;
        while done < bytes.len() {
            let to_edge = SECTOR_BYTES - (at + done as u64) % SECTOR_BYTES;
            let end = bytes.len().min(done + usize::try_from(to_edge).unwrap());
            if dice.coin() {
                write(state, at + done as u64, &bytes[done..end]);
            }
            done = end;
        }
    }
}

type NodeId = usize;

#[derive(Debug)]
enum FolderChange {
    Add(String, NodeId),
    Remove(String),
    /// Within one folder a rename happens or does not.
    Move(String, String, NodeId),
}

impl Change for FolderChange {
    type State = BTreeMap<String, NodeId>;

    fn apply(&self, state: &mut Self::State) {
        match self {
            Self::Add(name, node) => {
                state.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                state.remove(name);
            }
            Self::Move(from, to, node) => {
                state.remove(from);
                state.insert(to.clone(), *node);
            }
        }
    }

    /// Nothing of it: names are not torn.
    fn apply_torn(&self, _state: &mut Self::State, _dice: &mut Dice) {}
}

/// As processes see it, as the disk holds it, and what lies between, each change with its number.
#[derive(Debug)]
struct Content<C: Change> {
    now: C::State,
    durable: C::State,
    unsynced: VecDeque<(u64, C)>,
}

impl<C: Change> Content<C> {
    fn new(empty: C::State) -> Self {
        Self { now: empty.clone(), durable: empty, unsynced: VecDeque::new() }
    }

    fn change(&mut self, number: u64, change: C) {
        change.apply(&mut self.now);
        self.unsynced.push_back((number, change));
    }

    fn sync(&mut self, before: u64) {
        while self.unsynced.front().is_some_and(|(number, _)| *number < before) {
            let (_, change) = self.unsynced.pop_front().expect("there is a first");
            change.apply(&mut self.durable);
        }
    }

    fn after_a_cut(&self, dice: Option<&mut Dice>) -> C::State {
        let mut state = self.durable.clone();
        let (Some(dice), false) = (dice, self.unsynced.is_empty()) else {
            return state;
        };
        let manner = dice.below(4);
        let first_few = dice.below(self.unsynced.len() + 1);
        for (place, (_, change)) in self.unsynced.iter().enumerate() {
            let (whole, torn) = match manner {
                0 => (false, false),
                1 => (place < first_few, place == first_few),
                2 => (dice.coin(), dice.coin()),
                _ => (true, false),
            };
            if whole {
                change.apply(&mut state);
            } else if torn {
                change.apply_torn(&mut state, dice);
            }
        }
        state
    }
}

#[derive(Debug)]
enum Node {
    File(Content<FileChange>),
    Folder(Content<FolderChange>),
}

#[derive(Debug)]
pub struct Disk {
    /// The first is the folder that holds the data folder.
    nodes: Vec<Node>,
    by_inode: HashMap<u64, NodeId>,
    begun: HashMap<u64, (NodeId, u64)>,
    top: PathBuf,
    lie: Lie,
    changes: u64,
}

impl Disk {
    /// Empty, with the data folder's parent in it.
    pub fn new(data_folder: &Path, lie: Lie) -> Self {
        let top = data_folder.parent().unwrap().canonicalize().unwrap();
        let nodes = vec![Node::Folder(Content::new(BTreeMap::new()))];
        let by_inode = HashMap::from([(fs::metadata(&top).unwrap().ino(), 0)]);
        Self { nodes, by_inode, begun: HashMap::new(), top, lie, changes: 0 }
    }

    /// Does what the record tells.
    ///
    /// # Panics
    /// When it does not fit to what was before: then the recorder has missed something.
    pub fn follow(&mut self, record: &Record) {
        self.changes += 1;
        match record.kind {
            Kind::Create => self.add_new(&record.first, record.inode, Node::File(Content::new(Vec::new()))),
            Kind::Mkdir => self.add_new(&record.first, record.inode, Node::Folder(Content::new(BTreeMap::new()))),
            Kind::Unnamed => {
                self.new_node(record.inode, Node::File(Content::new(Vec::new())));
            }
            Kind::Write => self.change_file(record.inode, FileChange::Write { at: record.position, bytes: record.second.clone() }),
            Kind::Truncate => self.change_file(record.inode, FileChange::Truncate(record.position)),
            Kind::Allocate => self.change_file(record.inode, FileChange::Allocate(record.position)),
            Kind::Link => {
                let node = self.find(&record.first);
                self.add(record.second_path(), node);
            }
            Kind::Unlink | Kind::Rmdir => {
                let (folder, name) = self.place(&record.first);
                self.change_folder(folder, FolderChange::Remove(name));
            }
            Kind::Rename => self.rename(&record.first, record.second_path()),
            Kind::SyncBegin => self.begin_sync(record),
            Kind::SyncEnd => self.end_sync(record.position),
            Kind::SyncRange | Kind::SharedMap => {}
        }
    }

    fn new_node(&mut self, inode: u64, node: Node) -> NodeId {
        self.nodes.push(node);
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn add_new(&mut self, path: &str, inode: u64, node: Node) {
        let id = self.new_node(inode, node);
        self.add(path, id);
    }

    fn add(&mut self, path: &str, node: NodeId) {
        let (folder, name) = self.place(path);
        self.change_folder(folder, FolderChange::Add(name, node));
    }

    fn rename(&mut self, from: &str, to: &str) {
        let node = self.find(from);
        let ((from_folder, from_name), (to_folder, to_name)) = (self.place(from), self.place(to));
        if from_folder == to_folder {
            return self.change_folder(from_folder, FolderChange::Move(from_name, to_name, node));
        }
        self.change_folder(to_folder, FolderChange::Add(to_name, node));
        self.change_folder(from_folder, FolderChange::Remove(from_name));
    }

    fn change_file(&mut self, inode: u64, change: FileChange) {
        let number = self.changes;
        match &mut self.nodes[self.by_inode[&inode]] {
            Node::File(content) => content.change(number, change),
            Node::Folder(_) => panic!("bytes in a folder"),
        }
    }

    fn change_folder(&mut self, folder: NodeId, change: FolderChange) {
        let number = self.changes;
        match &mut self.nodes[folder] {
            Node::Folder(content) => content.change(number, change),
            Node::File(_) => panic!("names in a file"),
        }
    }

    fn begin_sync(&mut self, record: &Record) {
        let node = self.by_inode[&record.inode];
        if !self.lie.covers(&record.first, matches!(self.nodes[node], Node::Folder(_))) {
            self.begun.insert(record.position, (node, self.changes));
        }
    }

    fn end_sync(&mut self, number: u64) {
        let Some((node, before)) = self.begun.remove(&number) else {
            return;
        };
        match &mut self.nodes[node] {
            Node::File(content) => content.sync(before),
            Node::Folder(content) => content.sync(before),
        }
    }

    /// The folder in which a path's last name stands, and that name.
    fn place(&self, path: &str) -> (NodeId, String) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        (self.find(parent), name.to_owned())
    }

    fn find(&self, path: &str) -> NodeId {
        let below = Path::new(path).strip_prefix(&self.top).unwrap();
        below.iter().fold(0, |node, name| match &self.nodes[node] {
            Node::Folder(content) => match content.now.get(name.to_str().unwrap()) {
                Some(child) => *child,
                None => panic!("the recorder has missed how {path} was made"),
            },
            Node::File(_) => panic!("{path}: a name below a file"),
        })
    }

    /// How many changes a cut may lose now.
    pub fn unsynced(&self) -> usize {
        let count = |node: &Node| match node {
            Node::File(content) => content.unsynced.len(),
            Node::Folder(content) => content.unsynced.len(),
        };
        self.nodes.iter().map(count).sum()
    }

    /// Makes the data folder in `parent` as it is when the power comes back.
    pub fn cut(&self, parent: &Path, unsynced: Unsynced) {
        let mut dice = match unsynced {
            Unsynced::Lost => None,
            Unsynced::Drawn(seed) => Some(Dice::new(seed)),
        };
        self.cut_folder(0, parent, &mut dice);
    }

    fn cut_folder(&self, node: NodeId, path: &Path, dice: &mut Option<Dice>) {
        let Node::Folder(content) = &self.nodes[node] else { panic!("a file as a folder") };
        for (name, child) in content.after_a_cut(dice.as_mut()) {
            let path = path.join(&name);
            match &self.nodes[child] {
                Node::File(content) => {
                    let mut bytes = content.after_a_cut(dice.as_mut());
                    // Written through shared memory and never synced: whatever there is, it must not matter.
                    if let (Some(dice), true) = (dice.as_mut(), name.ends_with("-shm")) {
                        bytes.iter_mut().for_each(|byte| *byte = dice.next().to_le_bytes()[0]);
                    }
                    fs::write(&path, bytes).unwrap();
                }
                Node::Folder(_) => {
                    fs::create_dir(&path).unwrap();
                    self.cut_folder(child, &path, dice);
                }
            }
        }
    }

    /// What differs between the folder as processes saw it last, by the log, and the real one: the proof that the log tells everything.
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Node::Folder(top) = &self.nodes[0] else { panic!("the first node is a folder") };
        for (name, node) in &top.now {
            self.compare(*node, &self.top.join(name), &mut found);
        }
        found
    }

    fn compare(&self, node: NodeId, path: &Path, found: &mut Vec<String>) {
        match &self.nodes[node] {
            Node::File(content) => match fs::read(path) {
                Ok(bytes) => {
                    let mapped = path.to_str().unwrap().ends_with("-shm");
                    if bytes.len() != content.now.len() || (!mapped && bytes != content.now) {
                        found.push(format!("{}: {} bytes, by the log {}", path.display(), bytes.len(), content.now.len()));
                    }
                }
                Err(error) => found.push(format!("{}: {error}", path.display())),
            },
            Node::Folder(content) => {
                let real: Vec<String> = match fs::read_dir(path) {
                    Ok(entries) => entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
                    Err(error) => return found.push(format!("{}: {error}", path.display())),
                };
                let unknown = real.iter().filter(|name| !content.now.contains_key(*name));
                found.extend(unknown.map(|name| format!("{}: not in the log", path.join(name).display())));
                for (name, child) in &content.now {
                    self.compare(*child, &path.join(name), found);
                }
            }
        }
    }
}
