unset FRESHET_USERNAME
export FRESHET_PASSWORD='it'\''s "$HOME" `id`
\ *'
