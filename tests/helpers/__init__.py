"""What tests share, and the modules that tests start in processes of their own: `helpers.x` in both."""
