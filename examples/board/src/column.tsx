import { type FormEvent, useId, useState } from "react";
import type { Task, TaskStatus } from "./api.ts";
import type { Actions } from "./board.tsx";
import { Card } from "./card.tsx";

export const NAMES: Record<TaskStatus, string> = { todo: "To do", doing: "Doing", done: "Done" };

interface Props {
  readonly status: TaskStatus;
  /** None while they are fetched for the first time. */
  readonly tasks: readonly Task[] | undefined;
  /** Any card of the board, by its id. */
  readonly find: (id: string) => Task | undefined;
  readonly flashes: ReadonlySet<string>;
  readonly actions: Actions;
}

export function Column({ status, tasks, find, flashes, actions }: Props) {
  const heading = useId();
  const [over, setOver] = useState(false);
  return (
    <section
      className="column"
      data-testid="column"
      data-status={status}
      data-over={over || undefined}
      aria-labelledby={heading}
      onDragOver={(event) => {
        event.preventDefault();
        event.dataTransfer.dropEffect = "move";
        setOver(true);
      }}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const task = find(event.dataTransfer.getData("text/plain"));
        if (task) actions.move(task, status);
      }}
    >
      <h2 id={heading}>
        {NAMES[status]}
        <span className="count" data-testid="count">
          {tasks?.length}
        </span>
      </h2>
      {status === "todo" && <Composer add={actions.add} />}
      <ul>
        {tasks?.map((task) => (
          <Card key={task.id} task={task} flash={flashes.has(task.id)} actions={actions} />
        ))}
        {tasks?.length === 0 && status !== "todo" && <li className="empty">Nothing here</li>}
      </ul>
    </section>
  );
}

function Composer({ add }: { readonly add: (title: string) => void }) {
  const [title, setTitle] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wanted = title.trim();
    if (!wanted) return;
    setTitle("");
    add(wanted);
  };
  return (
    <form className="composer" data-testid="add" onSubmit={submit}>
      <input
        aria-label="Title of a new card"
        placeholder="Add a card"
        data-testid="add-title"
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.target.value)}
      />
      <button type="submit" data-testid="add-submit" aria-label="Add" disabled={!title.trim()}>
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M8 3v10M3 8h10" />
        </svg>
      </button>
    </form>
  );
}
