//! The triggers that are compared. Each is put on for a run and taken off again, so that all write to the same tables.

use crate::workload::Watched;

pub struct Variant {
    pub name: &'static str,
    /// Whether it tells the listener anything: then a run in which too little was heard is an error.
    pub tells: bool,
    pub when: When,
    /// Whether the triggers append, for a relay to send on.
    pub relayed: bool,
    kind: Kind,
}

/// Where it is measured.
#[derive(Clone, Copy)]
pub enum When {
    Always,
    /// Only where the CPU is.
    Cpu,
    /// There, and beside several clients with the simplest of updates.
    Yardstick,
}

enum Kind {
    None,
    /// A function of `FUNCTIONS`.
    Plain(&'static str),
    /// With these further arguments of `pgherald.watch`.
    Watch(&'static str),
}

/// The first one is what the others are compared with.
pub const VARIANTS: &[Variant] = &[
    Variant { name: "none", tells: false, when: When::Always, relayed: false, kind: Kind::None },
    Variant { name: "bare", tells: false, when: When::Yardstick, relayed: false, kind: Kind::Plain("bare") },
    Variant { name: "notify", tells: true, when: When::Cpu, relayed: false, kind: Kind::Plain("only_notify") },
    Variant { name: "statement", tells: true, when: When::Always, relayed: false, kind: Kind::Watch("") },
    Variant { name: "row", tells: true, when: When::Cpu, relayed: false, kind: Kind::Watch(", mode => 'row'") },
    Variant { name: "append", tells: true, when: When::Yardstick, relayed: true, kind: Kind::Plain("only_append") },
    Variant { name: "statement, relay", tells: true, when: When::Always, relayed: true, kind: Kind::Watch("") },
    Variant { name: "row, relay", tells: true, when: When::Cpu, relayed: true, kind: Kind::Watch(", mode => 'row'") },
];

/// What every statement trigger with transition tables costs, whatever it does, and what telling costs with it, by NOTIFY or by an
/// append that fails no write and tries the relay's locks: below these no body of a trigger can be.
pub const FUNCTIONS: &str = "
    create function bare() returns trigger language plpgsql as 'begin return null; end';
    create function only_notify() returns trigger language plpgsql as
        'begin perform pg_catalog.pg_notify(''cache_invalidate'', ''x''); return null; end';
    create function only_append() returns trigger language plpgsql as
        'begin
            if pg_catalog.pg_try_advisory_xact_lock_shared(7434, 1) then return null; end if;
            insert into pgherald.queue_0 (payload) values (pg_catalog.concat(''{\"cursor\":'', pg_catalog.pg_current_xact_id(), ''}''));
            if not pg_catalog.pg_try_advisory_xact_lock_shared(7434, 2) then perform pgherald.ring(); end if;
            return null;
        exception when others then return null; end'";

const OPERATIONS: &[(&str, &str)] =
    &[("insert", "new table as n"), ("update", "old table as o new table as n"), ("delete", "old table as o")];

impl Variant {
    /// Statements that put the triggers on.
    pub fn on(&self, tables: &[Watched]) -> String {
        let transport = if self.relayed { "relay" } else { "notify" };
        let set = format!("select pgherald.set_transport('{transport}');");
        tables.iter().fold(set, |sql, table| sql + &self.on_one(table))
    }

    pub fn off(&self, tables: &[Watched]) -> String {
        tables.iter().map(|table| self.off_one(table)).collect()
    }

    fn on_one(&self, Watched { name, project, id }: &Watched) -> String {
        match self.kind {
            Kind::None => String::new(),
            Kind::Plain(function) => {
                let one = |(operation, seen): &(&str, &str)| {
                    format!(
                        "create trigger plain_{operation} after {operation} on {name} referencing {seen} \
                         for each statement execute function {function}();"
                    )
                };
                OPERATIONS.iter().map(one).collect()
            }
            Kind::Watch(more) => {
                let id = id.map(|column| format!(", id => array['{column}']::name[]")).unwrap_or_default();
                format!("select pgherald.watch('{name}', project => '{project}'{id}{more});")
            }
        }
    }

    fn off_one(&self, Watched { name, .. }: &Watched) -> String {
        match self.kind {
            Kind::None => String::new(),
            Kind::Plain(_) => {
                let one = |(operation, _): &(&str, &str)| format!("drop trigger plain_{operation} on {name};");
                OPERATIONS.iter().map(one).collect()
            }
            Kind::Watch(_) => format!("select pgherald.unwatch('{name}');"),
        }
    }
}
