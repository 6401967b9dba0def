import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { type Account, createAccount } from "./account.ts";
import { createApi, type Project } from "./api.ts";
import { Avatar } from "./avatar.tsx";

/** The people of the demo. */
const USERS = ["alice", "bob", "carol"];

interface Props {
  readonly open: (account: Account, project: Project) => void;
}

export function Login({ open }: Props) {
  const [user, setUser] = useState("alice");
  const [wanted, setWanted] = useState<string>();
  const account = useMemo(() => createAccount(user), [user]);
  const projects = useQuery({ queryKey: ["projects of", user], queryFn: createApi(account, "").projects });
  const project = projects.data?.find(({ id }) => id === wanted) ?? projects.data?.[0];

  return (
    <main className="login">
      <form
        className="login-card"
        data-testid="login"
        onSubmit={(event) => {
          event.preventDefault();
          if (project) open(account, project);
        }}
      >
        <h1>
          <Mark /> Board
        </h1>
        <p className="quiet">Open it in a second window, log in as somebody else, and move a card.</p>
        <fieldset>
          <legend>You are</legend>
          <div className="choices">
            {USERS.map((name) => (
              <label key={name} className="choice">
                <input
                  type="radio"
                  name="user"
                  value={name}
                  data-testid={`user-${name}`}
                  checked={name === user}
                  onChange={() => setUser(name)}
                />
                <Avatar user={name} />
                <span>{name}</span>
              </label>
            ))}
          </div>
        </fieldset>
        <fieldset>
          <legend>Project</legend>
          <div className="choices">
            {projects.data?.map(({ id, name }) => (
              <label key={id} className="choice">
                <input
                  type="radio"
                  name="project"
                  value={id}
                  data-testid={`project-${id}`}
                  checked={id === project?.id}
                  onChange={() => setWanted(id)}
                />
                <span>{name}</span>
              </label>
            ))}
            {projects.isPending && <p className="quiet">Looking …</p>}
            {projects.isError && (
              <p className="alert" role="alert">
                {projects.error.message}
              </p>
            )}
          </div>
        </fieldset>
        <button type="submit" className="primary" data-testid="login-submit" disabled={!project}>
          Open the board
        </button>
      </form>
    </main>
  );
}

export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 16 16" aria-hidden="true">
      <rect width="16" height="16" rx="4" />
      <path d="M4 4.5h2v7H4zm3 0h2v4H7zm3 0h2v5.5h-2z" />
    </svg>
  );
}
