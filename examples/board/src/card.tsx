import { useEffect, useRef, useState } from "react";
import { STATUSES, type Task } from "./api.ts";
import type { Actions } from "./board.tsx";
import { NAMES } from "./column.tsx";
import { isDraft } from "./tasks.ts";

interface Props {
  readonly task: Task;
  /** Somebody else has just changed it. */
  readonly flash: boolean;
  readonly actions: Actions;
}

const PATHS = {
  back: "M10 3.5 5.5 8l4.5 4.5",
  on: "M6 3.5 10.5 8 6 12.5",
  pen: "m3 13 .7-2.8 7-7 2.1 2.1-7 7z",
  bin: "M3.5 4.5h9M6.5 4V2.8h3V4M5 4.5l.5 8.7h5l.5-8.7",
};

export function Card({ task, flash, actions }: Props) {
  const [editing, setEditing] = useState(false);
  const card = useRef<HTMLLIElement>(null);
  const place = STATUSES.indexOf(task.status);
  const draft = isDraft(task.id);

  useEffect(() => {
    const moved = actions.moved.current;
    if (moved?.id !== task.id) return;
    actions.moved.current = null;
    focus(card.current, `[data-testid=${moved.by}]:not(:disabled)`) || focus(card.current, ".move:not(:disabled)");
  }, [actions.moved, task.id]);

  const move = (by: -1 | 1) => {
    const status = STATUSES[place + by];
    const name = by < 0 ? "move-back" : "move-on";
    const label = status ? `Move “${task.title}” to ${NAMES[status]}` : "Cannot move further";
    const act = () => {
      if (!status) return;
      actions.moved.current = { id: task.id, by: name };
      actions.move(task, status);
    };
    return (
      <Tool
        name={name}
        label={label}
        path={by < 0 ? PATHS.back : PATHS.on}
        className="move"
        disabled={!status || draft}
        act={act}
      />
    );
  };

  return (
    <li
      ref={card}
      className="card"
      data-testid="card"
      data-id={task.id}
      data-status={task.status}
      data-flash={flash || undefined}
      data-draft={draft || undefined}
      draggable={!editing && !draft}
      onDragStart={(event) => {
        event.dataTransfer.setData("text/plain", task.id);
        event.dataTransfer.effectAllowed = "move";
      }}
    >
      {editing ? (
        <Editor
          title={task.title}
          close={(title, by) => {
            setEditing(false);
            if (title !== undefined) actions.rename(task, title);
            if (by === "key") requestAnimationFrame(() => focus(card.current, "[data-testid=rename]"));
          }}
        />
      ) : (
        <p className="title" data-testid="title" onDoubleClick={() => !draft && setEditing(true)}>
          {task.title}
        </p>
      )}
      {task.sprint && <span className="sprint">{task.sprint}</span>}
      <span className="tools" hidden={editing}>
        {move(-1)}
        {move(1)}
        <Tool
          name="rename"
          label={`Rename “${task.title}”`}
          path={PATHS.pen}
          disabled={draft}
          act={() => setEditing(true)}
        />
        <Tool
          name="delete"
          label={`Delete “${task.title}”`}
          path={PATHS.bin}
          disabled={draft}
          act={() => {
            const { nextElementSibling, previousElementSibling } = card.current ?? {};
            if (!focus(nextElementSibling ?? previousElementSibling, "[data-testid=rename]")) {
              focus(document.body, "[data-testid=add-title]"); // it was the last one of its column
            }
            actions.remove(task);
          }}
        />
      </span>
    </li>
  );
}

/** Whether there was something to focus. */
function focus(card: Element | null | undefined, selector: string): boolean {
  const found = card?.querySelector<HTMLElement>(selector);
  found?.focus();
  return found !== null && found !== undefined;
}

interface ToolProps {
  readonly name: string;
  readonly label: string;
  readonly path: string;
  readonly className?: string;
  readonly disabled: boolean;
  readonly act: () => void;
}

function Tool({ name, label, path, className, disabled, act }: ToolProps) {
  return (
    <button
      type="button"
      className={`tool ${className ?? ""}`}
      data-testid={name}
      aria-label={label}
      title={label}
      disabled={disabled}
      onClick={act}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={path} />
      </svg>
    </button>
  );
}

interface EditorProps {
  readonly title: string;
  /** Without a title it stays as it was. */
  readonly close: (title: string | undefined, by: "key" | "blur") => void;
}

/** Enter and leaving the field keep the title, Escape does not. */
function Editor({ title, close }: EditorProps) {
  const field = useRef<HTMLInputElement>(null);
  const closed = useRef(false);
  useEffect(() => field.current?.select(), []);
  const end = (kept: string | undefined, by: "key" | "blur") => {
    if (closed.current) return;
    closed.current = true;
    close(kept, by);
  };
  return (
    <input
      ref={field}
      className="editor"
      aria-label="Title"
      data-testid="rename-title"
      maxLength={200}
      defaultValue={title}
      onBlur={(event) => end(event.target.value.trim(), "blur")}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return; // Enter and Escape are the input method's
        if (event.key === "Enter") end(event.currentTarget.value.trim(), "key");
        if (event.key === "Escape") end(undefined, "key");
      }}
    />
  );
}
