import type { Client } from "pgherald";
import { useMemo, useState } from "react";
import { type Account, createAccount } from "./account.ts";
import { createApi, type Project } from "./api.ts";
import { Board } from "./board.tsx";
import { Login } from "./login.tsx";

interface Place {
  readonly account: Account;
  readonly project: Project;
}

/** Each window remembers its own user, through a reload and no longer. */
const KEY = "pgherald-board";

interface Props {
  readonly client: Client;
  /** Told who is logged in from now on. */
  readonly enter: (account: Account | null) => void;
}

export function App({ client, enter }: Props) {
  const [place, setPlace] = useState<Place | null>(() => {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as { user: string; project: Project } | null;
    if (!kept) return null;
    const account = createAccount(kept.user);
    enter(account);
    return { account, project: kept.project };
  });
  const account = place?.account;
  const api = useMemo(() => account && createApi(account, client.origin), [account, client]);

  const open = (account: Account, project: Project) => {
    sessionStorage.setItem(KEY, JSON.stringify({ user: account.user, project }));
    enter(account);
    setPlace({ account, project });
  };
  const leave = () => {
    sessionStorage.removeItem(KEY);
    setPlace(null);
    enter(null);
  };
  if (!place || !api) return <Login open={open} />;
  return (
    <Board
      key={place.project.id}
      client={client}
      api={api}
      user={place.account.user}
      project={place.project}
      leave={leave}
    />
  );
}
