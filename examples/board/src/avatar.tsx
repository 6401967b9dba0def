/** The first letter on a colour of one's own. */
export function Avatar({ user }: { readonly user: string }) {
  return (
    <span className="avatar" data-user={user} aria-hidden="true">
      {user.slice(0, 1).toUpperCase()}
    </span>
  );
}
