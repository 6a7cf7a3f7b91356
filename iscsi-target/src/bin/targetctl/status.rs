//! `targetctl status`: words first, then a table.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use iscsi_target::daemon::config::ByteSize;
use iscsi_target::daemon::control::{Request, Response};
use iscsi_target::daemon::status::{HeadStatus, LunStatus, Status};

use crate::Global;
use crate::daemon;
use crate::failure::Failure;

const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Say who owns what, and where every acknowledged write is
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object per line; its keys are documented and stay
    #[arg(long)]
    json: bool,
    /// Go on: at each change and at least every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// Where and how to print.
enum Form {
    Json,
    Words,
    /// In place of what was printed before.
    Screen,
    /// Only what has changed since.
    Changes(Vec<String>),
}

pub(crate) fn run(arguments: &Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let mut form = match (arguments.json, arguments.watch) {
        (true, _) => Form::Json,
        (false, false) => Form::Words,
        (false, true) if io::stdout().is_terminal() => Form::Screen,
        (false, true) => Form::Changes(Vec::new()),
    };
    let mut client = daemon::connect(global)?;
    let request = if arguments.watch { Request::Watch {} } else { Request::Status {} };
    let mut response = client.ask(&request)?;
    loop {
        match response {
            Response::Status(status) => print(&status, &mut form, out)?,
            Response::Error(error) => return Err(Failure::failed(error)),
            Response::Done(_) => return Err(Failure::failed("the daemon answered something that is not its status")),
        }
        if !arguments.watch {
            return Ok(());
        }
        out.flush()?;
        response = client.next_answer()?;
    }
}

fn print(status: &Status, form: &mut Form, out: &mut dyn Write) -> Result<(), Failure> {
    match form {
        Form::Json => writeln!(out, "{}", serde_json::to_string(status)?)?,
        Form::Words => write!(out, "{}", render(status))?,
        Form::Screen => write!(out, "{CLEAR_SCREEN}{}", render(status))?,
        Form::Changes(before) => {
            let now = words(status);
            for line in now.iter().filter(|line| !before.contains(line)) {
                writeln!(out, "{line}")?;
            }
            *before = now;
        }
    }
    Ok(())
}

/// Everything, for people.
pub(crate) fn render(status: &Status) -> String {
    format!("{}\n\n{}\n\n{}\n", words(status).join("\n"), table_of_luns(status), table_of_heads(status))
}

/// A sentence for each LUN, for each head with addresses that move, and for the link.
pub(crate) fn words(status: &Status) -> Vec<String> {
    let mut lines: Vec<String> = status.luns.iter().map(words_of_lun).collect();
    lines.extend(status.heads.iter().filter(|head| !head.addresses.is_empty()).map(words_of_addresses));
    if let Some(link) = &status.link {
        let state = if link.up { "up" } else { "down" };
        let reason = link.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        lines.push(format!("link to {}: {state}{reason}", link.peer));
    }
    lines
}

fn words_of_lun(lun: &LunStatus) -> String {
    let owner = lun.owner.map_or("no owner".to_owned(), |owner| format!("owner {owner}"));
    let dirty = if lun.dirty_bytes == 0 { "nothing".to_owned() } else { ByteSize(lun.dirty_bytes).to_string() };
    let reason = lun.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let sanitize = lun.sanitize.as_ref().map_or(String::new(), |how_far| format!("; {how_far}"));
    let differs = if lun.differs.is_empty() {
        String::new()
    } else {
        format!("; the heads differ in {}", lun.differs.join("; "))
    };
    let protected = &lun.protected_by;
    format!(
        "{}: {}, {owner}, protected by {protected}, {dirty} to destage, epoch {}{reason}{sanitize}{differs}",
        lun.name, lun.mode, lun.epoch
    )
}

fn words_of_addresses(head: &HeadStatus) -> String {
    let shown = head.addresses.iter().map(|held| {
        let of_the_other = if held.adopted { " (adopted)" } else { "" };
        format!("{}{of_the_other}", held.address)
    });
    format!("head {} holds {}", head.name, shown.collect::<Vec<_>>().join(", "))
}

fn table_of_luns(status: &Status) -> String {
    let mut table = new_table(
        &["LUN", "NAME", "MODE", "OWNER", "SIZE", "TO DESTAGE", "MIRROR", "EPOCH", "SESSIONS"],
        &[0, 4, 5, 6, 7],
    );
    for lun in &status.luns {
        let sessions: Vec<String> = lun.sessions.iter().map(|(head, count)| format!("{head}:{count}")).collect();
        table.add_row([
            lun.id.to_string(),
            lun.name.clone(),
            lun.mode.to_string(),
            lun.owner.map_or("-".to_owned(), |owner| owner.to_string()),
            ByteSize(lun.size_bytes).to_string(),
            ByteSize(lun.dirty_bytes).to_string(),
            ByteSize(lun.mirror_bytes).to_string(),
            lun.epoch.to_string(),
            if sessions.is_empty() { "-".to_owned() } else { sessions.join(" ") },
        ]);
    }
    table.trim_fmt()
}

fn table_of_heads(status: &Status) -> String {
    let mut table = new_table(&["HEAD", "STATE", "SESSIONS", "PORTALS", "INCARNATION"], &[2]);
    for head in &status.heads {
        table.add_row([
            head.name.to_string(),
            state_of(head, status),
            head.sessions.to_string(),
            head.portals.join(" "),
            head.incarnation.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.trim_fmt()
}

fn state_of(head: &HeadStatus, status: &Status) -> String {
    let state = if head.up { "up" } else { "not heard" };
    if head.name == status.head { format!("{state}, answers") } else { state.to_owned() }
}

fn new_table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let cells = header.iter().enumerate().map(|(index, title)| {
        let cell = Cell::new(title);
        if numbers.contains(&index) { cell.set_alignment(CellAlignment::Right) } else { cell }
    });
    table.set_header(cells);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
